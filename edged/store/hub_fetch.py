"""Run by path as a process of its own (by `hub.py`): fetches files of one repository, sizes checked first."""

import json
import sys

_ANSWER_TIMEOUT_S = 10.0


def main(order_json: str) -> None:
    """Fetch what the order lists; any exception ends the process and is read by the parent."""
    try:
        import huggingface_hub
    except ImportError as error:
        sys.exit(f"huggingface-hub cannot be imported: {error}")
    order = json.loads(order_json)
    for file in order["files"]:
        url = huggingface_hub.hf_hub_url(order["repo"], file["name"], revision=order["revision"])
        facts = huggingface_hub.get_hf_file_metadata(url, timeout=_ANSWER_TIMEOUT_S)
        if facts.size != file["size_bytes"]:
            sys.exit(
                f"{file['name']} has {facts.size} bytes there, expected {file['size_bytes']}: not downloaded"
            )
        huggingface_hub.hf_hub_download(
            order["repo"],
            file["name"],
            revision=order["revision"],
            local_dir=order["folder"],
            etag_timeout=_ANSWER_TIMEOUT_S,
        )


if __name__ == "__main__":
    main(sys.argv[1])
