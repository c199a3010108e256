"""The events that an operator searches the journal for, each with the id that its messages carry.

A log record names its event with `extra={"EVENT": name}`; the journal's handler adds the id. The journal's
catalog (systemd/edged.catalog) has an explanation for each: `journalctl -x`.
"""

MESSAGE_IDS = {
    "started": "a9af6725e328497186c39f10b2c56507",
    "ready": "664145878702496888f5577d2cc5678f",
    "model_loading": "2a0de5d631ff4ffdacec34ad8dcf8856",
    "model_ready": "8967fb3ad25a4f6a889ce34719a6380b",
    "model_failed": "6d3550bdd9aa4d419312fadb21717859",
    "model_unloaded": "80e822389746423b82340712b39166b3",
    "model_evicted": "4a2a5aa3855b446c8145db5c8f25445b",
    "model_refused": "499ce66189b84961ba58a436b0fd4500",
    "plan_shrunk": "8f574237fa1b42598335271796d983ce",
    "runner_crashed": "2408e09021564ac4b53339dcaee0da59",
    "runner_hung": "15e7f8537f764a3087f65739689d2373",
    "runner_oom_killed": "9a2ecdbd14ec47d89db8929080727d8b",
    "runner_restarted": "f0e2fd05a8744d228e2e315d2b0d992b",
    "requests_cut_off": "5f5f41a0a2b84c0d9ff5bd62a8ee39cf",
    "reload_done": "bbdf4b19527547f8a32a77b42f6dc941",
    "reload_failed": "11f75e07ba514f5685d13c9a90169368",
    "pressure_rose": "6b0e6a4a1b0f4e3f9d1c6a1f4c8a2e57",
    "pressure_fell": "c2f1a9c05a7e4b6cb6e0a3d74f0c9b18",
    "model_cooled": "3d9a4e7f52c84d0f8f26b1c5e9a7d034",
    "storage_slow": "fd6e32c647384309a681fc7c0f08f758",
    "watchdog_missed": "380db2367149479ca98fa515ea85dd73",
    "draining": "90e49c0de55146daa039d4b6806f5982",
    "stopped": "f83725df1b6e4187ae59e68a68900627",
}
