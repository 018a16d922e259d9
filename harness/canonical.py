"""One way to write JSON and one way to digest it, so that equal content has equal bytes everywhere."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN. Floats are written as `repr` writes them (shortest exact form)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any, size: int = 16) -> str:
    """Hex digest (2 × `size` characters) of a JSON value, or of bytes as they are."""
    data = value if isinstance(value, bytes) else canonical(value).encode()
    return hashlib.blake2b(data, digest_size=size).hexdigest()
