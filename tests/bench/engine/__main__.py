"""edged's engine beside llama-server and onnxruntime: `python -m tests.bench.engine --help`."""

from tests.bench.engine.command import main

main()
