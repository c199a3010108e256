"""What changes from one configuration to another, and what each change asks for while edged runs."""

from collections.abc import Iterator
from typing import Any

import msgspec

from edged.config.paths import model_path
from edged.config.schema import Config
from edged.config.shape import fields_of
from edged.config.units import written

# Bound or opened once, when edged starts.
_FIXED = ("server.host", "server.port", "storage.state_dir")
# A runner takes these while it works, or has nothing to do with them.
_LIMITS = frozenset(
    {"max_queue_requests", "max_queue_tokens", "step_time", "pinned", "keep_alive", "matryoshka"}
)
# What models are planned on, beside their own settings.
_PLANNED_ON = ("memory.", "loading.start_budget", "loading.prefetch")
_SHOWN_CHANGES = 8


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The models by what has to be done with them, and every changed key as `key: old → new`.

    `replaced` need a new runner; `limited` go on with theirs by new limits. `preloaded` are to be loaded at
    start from now on, or no more. Models that are none of these go on as they are.
    """

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    limited: tuple[str, ...] = ()
    preloaded: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()  # changed keys that cannot change while edged runs
    memory: bool = False  # all models are to be planned anew
    planning: bool = False  # those that are not loaded are

    @property
    def text(self) -> str:
        """For a sentence: what has changed."""
        more = len(self.changes) - _SHOWN_CHANGES
        shown = (*self.changes[:_SHOWN_CHANGES], *([f"{more} more"] if more > 0 else []))
        return "; ".join(shown) or "nothing has changed"


def difference(old: Config, new: Config) -> Difference:
    """What there is to do when `new` takes the place of `old`."""
    sections = list(_section_changes(old, new))
    paths = [path for path, _ in sections]
    changes = [text for _, text in sections]
    added = tuple(model for model in new.models if model not in old.models)
    removed = tuple(model for model in old.models if model not in new.models)
    changes += [f"models.{model}: added" for model in added]
    changes += [f"models.{model}: removed" for model in removed]
    replaced, limited, preloaded, pinned = [], [], [], False
    for model, settings in new.models.items():
        if model not in old.models:
            continue
        before = old.models[model]
        keys = set(_changed(before, settings))
        changes += [f"models.{model}.{key}: {_both(before, settings, key)}" for key in sorted(keys)]
        if keys - _LIMITS - {"preload"} or model_path(old, model) != model_path(new, model):
            replaced.append(model)
            continue
        if keys & _LIMITS:
            limited.append(model)
        pinned |= "pinned" in keys
        if "preload" in keys:
            preloaded.append(model)
    return Difference(
        added=added,
        removed=removed,
        replaced=tuple(replaced),
        limited=tuple(limited),
        preloaded=tuple(preloaded),
        changes=tuple(changes),
        fixed=tuple(path for path in paths if path in _FIXED),
        memory=any(path.startswith("memory.") for path in paths),
        planning=pinned or any(path.startswith(_PLANNED_ON) for path in paths),
    )


def _section_changes(old: Config, new: Config) -> Iterator[tuple[str, str]]:
    """The changed keys outside `models`, each with its values; those of secrets are not shown."""
    for name, section in fields_of(Config).items():
        if name == "models":
            continue
        before, after = getattr(old, name), getattr(new, name)
        fields = fields_of(section.shape.base)
        for key in _changed(before, after):
            path = f"{name}.{key}"
            shown = "changed" if fields[key].shape.secret else _both(before, after, key)
            yield path, f"{path}: {shown}"


def _changed(before: msgspec.Struct, after: msgspec.Struct) -> list[str]:
    return [key for key in before.__struct_fields__ if getattr(before, key) != getattr(after, key)]


def _both(before: msgspec.Struct, after: msgspec.Struct, key: str) -> str:
    return f"{_shown(getattr(before, key))} → {_shown(getattr(after, key))}"


def _shown(value: Any) -> str:
    text = written(value)
    if isinstance(text, bool):
        return "true" if text else "false"
    return ", ".join(map(str, text)) or "none" if isinstance(text, list) else str(text)
