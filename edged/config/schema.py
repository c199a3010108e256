"""The configuration as typed structs: the only defaults there are; `config/edged.yaml` documents them.

`Bytes` and `Seconds` are read from `512MiB` and `10m`; `load.py` turns text into them.
"""

from typing import Annotated, Literal

import msgspec

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class Bytes(int):
    """A size. In YAML: a whole number of bytes, or a number with KiB, MiB, GiB (kB, MB, GB are decimal)."""


class Seconds(float):
    """A duration. In YAML: a number with ms, s, m or h."""


class Server(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where edged listens and how much it takes on at once."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8080
    max_requests: Annotated[int, msgspec.Meta(ge=1, le=512)] = 32
    max_connections: Annotated[int, msgspec.Meta(ge=8, le=65536)] = 1000
    max_body: Bytes = Bytes(8 << 20)
    header_timeout: Seconds = Seconds(10)
    idle_timeout: Seconds = Seconds(60)
    request_timeout: Seconds = Seconds(600)
    drain_timeout: Seconds = Seconds(20)


class Access(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may call."""

    mode: Literal["loopback", "lan", "any"] = "loopback"
    api_keys: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class Memory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much memory models may take."""

    budget: Bytes | Literal["auto"] = "auto"
    reserve: Bytes = Bytes(128 << 20)


class Storage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where files lie."""

    model_dir: str = "auto"
    state_dir: str = "auto"


class Loading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models come up and go."""

    start_budget: Seconds = Seconds(10)
    request_wait: Seconds = Seconds(60)
    load_timeout: Seconds = Seconds(900)
    restart_backoff: Seconds = Seconds(1)
    restart_backoff_max: Seconds = Seconds(60)
    prefetch: bool = True


class Model(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model. What is set here is never changed silently; what is `auto` the plan decides."""

    file: str
    kind: Literal["auto", "generate", "embed"] = "auto"
    strategy: Literal["auto", "warm", "stream", "lazy", "on_demand", "locked"] = "auto"
    preload: bool = True
    repack: bool | Literal["auto"] = "auto"
    n_ctx: PositiveInt | Literal["auto"] = "auto"
    n_ctx_min: PositiveInt = 512
    n_seq_max: Annotated[int, msgspec.Meta(ge=1, le=64)] | Literal["auto"] = "auto"
    n_batch: Annotated[int, msgspec.Meta(ge=8, le=8192)] | Literal["auto"] = "auto"
    n_ubatch: Annotated[int, msgspec.Meta(ge=8, le=8192)] | Literal["auto"] = "auto"
    n_threads: Annotated[int, msgspec.Meta(ge=1, le=1024)] | Literal["auto"] = "auto"
    type_k: Literal["auto", "f16", "bf16", "q8_0", "q4_0"] = "auto"
    type_v: Literal["auto", "f16", "bf16", "q8_0", "q4_0"] = "auto"
    max_queue_requests: Annotated[int, msgspec.Meta(ge=1, le=10000)] = 64
    max_queue_tokens: PositiveInt = 65536


class Logging(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is written where."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "text", "journal"] = "auto"


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    server: Server = Server()
    access: Access = Access()
    memory: Memory = Memory()
    storage: Storage = Storage()
    loading: Loading = Loading()
    models: dict[str, Model] = {}
    logging: Logging = Logging()
