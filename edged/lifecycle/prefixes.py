"""Where runners keep hot prefixes, one folder a model; what nobody uses any more is removed."""

import logging
import shutil
from pathlib import Path

from edged.config.paths import state_dir
from edged.config.schema import Config

log = logging.getLogger(__name__)


def prefix_folder(config: Config, model: str) -> Path:
    """The folder of one model's prefixes; its runner makes it."""
    return state_dir(config) / "prefixes" / model


def remove_unused(config: Config) -> None:
    """Remove the folders of models that are not configured, or that are to keep no prefixes.

    Another daemon on the same state folder loses no more than what its runners compute again.
    """
    used = {model for model, settings in config.models.items() if settings.prefix_cache}
    try:
        folders = [each for each in (state_dir(config) / "prefixes").iterdir() if each.name not in used]
    except OSError:  # usually: not there yet
        return
    for folder in folders:
        try:
            folder.unlink() if folder.is_symlink() or not folder.is_dir() else shutil.rmtree(folder)
            log.info("%s: removed, as no model uses it", folder)
        except OSError as error:
            log.warning("%s: no model uses it, but it cannot be removed: %s", folder, error)
