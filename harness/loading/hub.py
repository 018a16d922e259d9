"""Data files of the Hugging Face hub, fetched only when asked for (`--data hub`)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import DataError
from ..kinds import HubData

REFUSED = (401, 403)
"""HTTP statuses of a hub that knows who asks, or does not, and gives them nothing."""


def fetched(data: HubData, names: Iterable[str]) -> Path:
    """The folder of the named files in the local cache, downloaded when they are not there. Raises DataError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    files = [f"{data.folder}/{name}" if data.folder else name for name in names]
    wanted = [pattern for name in files for pattern in (name, f"{name}/*")]  # a name may be that of a folder
    elsewhere = f"download {', '.join(files)} elsewhere and give the folder"
    try:
        root = snapshot_download(data.repository, repo_type="dataset", revision=data.revision, allow_patterns=wanted)
    # What the client raises depends on what is between here and the hub.
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        # The client may wrap the hub's answer in an error of its own.
        answers = [e.response.status_code for e in (error, error.__cause__) if isinstance(e, HfHubHTTPError)]
        if any(status in REFUSED for status in answers):
            raise DataError(
                f"--data hub: the hub does not give {data.repository} to this machine ({reason}); where it is gated, "
                f"accept its conditions at https://huggingface.co/datasets/{data.repository} with an account of the "
                f"hub and log in with `hf auth login` or the variable HF_TOKEN; or {elsewhere}"
            ) from error
        raise DataError(
            f"--data hub: {data.repository} is not in the local cache and the hub cannot be asked "
            f"({reason}); {elsewhere}"
        ) from error
    return Path(root) / data.folder
