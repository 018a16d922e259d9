"""A world is no data file of a spec, so that nothing but a version tells old results from new ones."""

from __future__ import annotations

import hashlib

from benchwright.adapters.editing.sources.world import DIGESTS
from benchwright.adapters.worlds.knowledge.folder import WORLD, shipped, shipped_names


def test_no_world_changed_under_the_version_of_its_edits() -> None:
    found = {name: hashlib.sha256((shipped(name) / WORLD).read_bytes()).hexdigest() for name in shipped_names()}
    known = {name: DIGESTS.get(name) for name in found}
    assert found == known, "raise WorldEdits.version when a world changed, and write world.DIGESTS again"
