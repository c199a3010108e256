"""llama.cpp's own endpoints."""

from typing import Any

import pytest

from edged.api.llamacpp.embedding import normalized
from tests.api.conftest import Running, Serve
from tests.api.streamed import Json
