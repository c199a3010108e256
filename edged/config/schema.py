"""The configuration as typed structs: the only defaults there are; `config/edged.yaml` documents them.

`Bytes` and `Seconds` are read from `512MiB` and `10m`; `load.py` turns text into them. The descriptions are
what editors show, and stand above each key in `config/edged.yaml` word for word (a test compares them).
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

PositiveInt = Annotated[int, Meta(ge=1)]
Scope = Literal["use", "metrics", "manage", "pull"]  # what a key may be for
ModelId = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]*$")]


class Bytes(int):
    """A size. In YAML: a whole number of bytes, or a number with KiB, MiB, GiB (kB, MB, GB are decimal)."""


class Seconds(float):
    """A duration. In YAML: a number with ms, s, m or h."""


def _size(at_least: int, at_most: int = 1 << 50) -> Meta:
    return Meta(extra={"ge": at_least, "le": at_most})


def _time(at_least_s: float, at_most_s: float = 24 * 3600) -> Meta:
    return Meta(extra={"ge": at_least_s, "le": at_most_s})


def _doc(text: str) -> Meta:
    return Meta(description=text)


class Server(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where edged listens and how much it takes on at once."""

    host: Annotated[str, Meta(min_length=1), _doc("Address to listen on; 0.0.0.0 for every network.")] = (
        "127.0.0.1"
    )
    port: Annotated[
        int, Meta(ge=0, le=65535), _doc("Port to listen on; 0 picks a free one and prints it.")
    ] = 8080
    tls_certificate: Annotated[
        str,
        Meta(min_length=1),
        _doc("PEM file of the certificate and those that it rests on, for HTTPS; none: plain HTTP."),
    ] = "none"
    tls_key: Annotated[
        str,
        Meta(min_length=1),
        _doc("PEM file of the certificate's private key. Both files are read again at each reload."),
    ] = "none"
    max_requests: Annotated[
        int, Meta(ge=1, le=512), _doc("Requests worked on at once; further ones get 429.")
    ] = 32
    client_requests: Annotated[
        Annotated[int, Meta(ge=1, le=512)] | Literal["unlimited"],
        _doc("Requests that one client (its key, else its address) may have at once; further ones get 429."),
    ] = "unlimited"
    client_rate: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)] | Literal["unlimited"],
        _doc("Requests that one client may make a minute over time, so many at once; further ones get 429."),
    ] = "unlimited"
    max_connections: Annotated[
        int, Meta(ge=8, le=65536), _doc("Open connections; at the limit, the longest idle one makes room.")
    ] = 1000
    max_body: Annotated[
        Bytes, _size(1 << 10, 64 << 20), _doc("Largest request body; larger ones are refused with 413.")
    ] = Bytes(8 << 20)
    header_timeout: Annotated[
        Seconds, _time(0.1), _doc("How long a client may take to send its request headers.")
    ] = Seconds(10)
    idle_timeout: Annotated[Seconds, _time(1), _doc("How long a silent connection is kept open.")] = Seconds(
        60
    )
    request_timeout: Annotated[
        Seconds, _time(1), _doc("How long one answer may take from request to last byte.")
    ] = Seconds(600)
    drain_timeout: Annotated[
        Seconds,
        _time(0),
        _doc("On shutdown, or before a changed model is reloaded, how long requests may take to finish."),
    ] = Seconds(20)


class Access(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may call."""

    mode: Annotated[
        Literal["loopback", "lan", "any"],
        _doc("Who may call: loopback (this machine), lan (private addresses) or any (needs api_keys)."),
    ] = "loopback"
    api_keys: Annotated[
        tuple[Annotated[str, Meta(min_length=16)], ...],
        Meta(extra={"secret": True}),
        _doc(
            "Keys accepted as `Authorization: Bearer KEY`, at least 16 characters each; none: no key needed."
            " Better: `edged key add NAME`, which keeps no more than a hash, in a file beside this one."
        ),
    ] = ()
    keyless: Annotated[
        tuple[Scope, ...],
        _doc("What needs no key where there are keys: some of use, metrics, manage and pull."),
    ] = ()
    hosts: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        _doc("Host names that clients may use for this machine, besides its addresses and its own name."),
    ] = ()
    cors_origins: Annotated[
        tuple[Annotated[str, Meta(min_length=1)], ...],
        _doc(
            "Web pages from elsewhere that may call and read the answers, such as https://ui.example; none by"
            " default."
        ),
    ] = ()

    def __repr__(self) -> str:
        """Without the keys: a configuration may end up in a log."""
        names = [name for name in self.__struct_fields__ if name != "api_keys"]
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"Access(api_keys=<{len(self.api_keys)}>, {shown})"


class Memory(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much memory models may take."""

    budget: Annotated[
        Bytes | Literal["auto"],
        _size(1 << 20),
        _doc("Memory for all models together; auto: what is available now, less the reserve."),
    ] = "auto"
    reserve: Annotated[Bytes, _size(0), _doc("Memory left free for everything else on this machine.")] = (
        Bytes(128 << 20)
    )


class Storage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where files lie."""

    model_dir: Annotated[
        str,
        Meta(min_length=1),
        _doc("Folder of the model files; auto: in systemd's state directory, else in the user's data."),
    ] = "auto"
    state_dir: Annotated[
        str,
        Meta(min_length=1),
        _doc(
            "Folder for what edged learns here and models that clients pull; auto: systemd's state directory,"
            " else the user's state."
        ),
    ] = "auto"


class Loading(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How models come up and go."""

    start_budget: Annotated[
        Seconds, _time(0), _doc("A model that warms up within this time does so before it is ready.")
    ] = Seconds(10)
    request_wait: Annotated[
        Seconds,
        _time(0),
        _doc("How long a request waits for its model before it gets 503, unless it says so in X-Edged-Wait."),
    ] = Seconds(60)
    load_timeout: Annotated[Seconds, _time(1), _doc("A load that takes longer than this has failed.")] = (
        Seconds(900)
    )
    hang_timeout: Annotated[
        Seconds,
        _time(1),
        _doc(
            "A model's process that shows no sign of life for so long is replaced; no step takes that long."
        ),
    ] = Seconds(60)
    restart_backoff: Annotated[
        Seconds, _time(0.01), _doc("Wait before a crashed model is loaded again; doubles each time.")
    ] = Seconds(1)
    restart_backoff_max: Annotated[
        Seconds, _time(0.01), _doc("Longest wait before a crashed model is loaded again.")
    ] = Seconds(60)
    keep_alive: Annotated[
        Seconds | Literal["never"],
        _time(0),
        _doc(
            "Unload a model that had no request for so long; 0s: after each answer; never: only to make room."
        ),
    ] = "never"
    prefetch: Annotated[bool, _doc("Read model files ahead of their use, in the order they are wanted.")] = (
        True
    )
    spare_runner: Annotated[
        Literal["auto", "on", "off"],
        _doc(
            "Keep a process started for the next load; auto: while a model is not loaded and memory allows."
        ),
    ] = "auto"


class Model(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One model. What is set here is never changed silently; what is `auto` the plan decides."""

    file: Annotated[
        str, Meta(min_length=1), _doc("The GGUF file, in model_dir unless the path is absolute. Required.")
    ]
    kind: Annotated[
        Literal["auto", "generate", "embed", "rank"], _doc("What the model is for; auto: what its file says.")
    ] = "auto"
    strategy: Annotated[
        Literal["auto", "warm", "stream", "lazy", "on_demand", "locked"],
        _doc("How it is loaded: warm, stream, lazy, on_demand or locked; see `edged plan`."),
    ] = "auto"
    preload: Annotated[bool, _doc("Load it when edged starts, not on its first request.")] = True
    pinned: Annotated[
        bool, _doc("Never unload it to make room for others, nor when it is idle; it is planned first.")
    ] = False
    keep_alive: Annotated[
        Seconds | Literal["auto", "never"],
        _time(0),
        _doc("Unload it when it had no request for so long; auto: as loading.keep_alive says."),
    ] = "auto"
    repack: Annotated[
        bool | Literal["auto"],
        _doc("Copy the weights into the layout that is fastest on this CPU: more memory, quicker prompts."),
    ] = "auto"
    n_ctx: Annotated[
        PositiveInt | Literal["auto"], _doc("Tokens one request may use, prompt and answer together.")
    ] = "auto"
    n_ctx_min: Annotated[PositiveInt, _doc("How far the plan may shrink n_ctx when memory is short.")] = 512
    n_seq_max: Annotated[
        Annotated[int, Meta(ge=1, le=64)] | Literal["auto"],
        _doc("Requests computed side by side in one batch."),
    ] = "auto"
    n_batch: Annotated[
        Annotated[int, Meta(ge=8, le=8192)] | Literal["auto"], _doc("Tokens scheduled in one step.")
    ] = "auto"
    n_ubatch: Annotated[
        Annotated[int, Meta(ge=8, le=8192)] | Literal["auto"],
        _doc("Tokens computed at once, at most n_batch; an embedding model needs at least n_ctx."),
    ] = "auto"
    n_threads: Annotated[
        Annotated[int, Meta(ge=1, le=1024)] | Literal["auto"],
        _doc("Compute threads; auto: one per usable (performance) core."),
    ] = "auto"
    type_k: Annotated[
        Literal["auto", "f16", "bf16", "q8_0", "q4_0"], _doc("Number format of the KV cache's keys.")
    ] = "auto"
    type_v: Annotated[
        Literal["auto", "f16", "bf16", "q8_0", "q4_0"], _doc("Number format of the KV cache's values.")
    ] = "auto"
    max_queue_requests: Annotated[
        int, Meta(ge=1, le=10000), _doc("Requests that may wait for this model; further ones get 429.")
    ] = 64
    max_queue_tokens: Annotated[
        PositiveInt, _doc("Prompt tokens that may wait for this model; further ones get 429.")
    ] = 65536
    step_time: Annotated[
        Seconds,
        _time(0.001, 60),
        _doc("While answers are under way, prompts are computed in pieces that take about this long."),
    ] = Seconds(0.25)
    speculation: Annotated[
        Literal["auto", "off"],
        _doc("auto: compute likely next tokens together with a sure one, where text repeats and that pays."),
    ] = "auto"
    prefix_cache: Annotated[
        Bytes,
        _size(0),
        _doc("Disk space for prompts that were asked for again, kept over an unload; 0: none."),
    ] = Bytes(64 << 20)
    matryoshka: Annotated[
        bool, _doc("Embeddings may be cut to fewer dimensions; only for models that were trained for it.")
    ] = False


class Logging(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is written where."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], _doc("The least serious messages that are written.")
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "journal"],
        _doc("text for people, journal for systemd's journal; auto: journal under systemd."),
    ] = "auto"


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    server: Annotated[Server, _doc("Where edged listens and how much it takes on at once.")] = Server()
    access: Annotated[Access, _doc("Who may call.")] = Access()
    memory: Annotated[Memory, _doc("How much memory models may take.")] = Memory()
    storage: Annotated[Storage, _doc("Where files lie.")] = Storage()
    loading: Annotated[Loading, _doc("How models come up and go.")] = Loading()
    models: Annotated[dict[ModelId, Model], _doc("The models to serve, by the name that clients use.")] = {}
    logging: Annotated[Logging, _doc("What is written where.")] = Logging()
