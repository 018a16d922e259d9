"""A world is no data file of a spec, so that nothing but a version tells old results from new ones."""

from __future__ import annotations

from benchwright.adapters.detox.sources.world import DIGESTS, world_digest
from benchwright.adapters.worlds.forbidden.folder import read_world
from benchwright.adapters.worlds.shipped import shipped, shipped_names


def test_no_world_and_no_case_changed_under_their_version() -> None:
    found = {name: world_digest(read_world(shipped(name))) for name in shipped_names("forbidden")}
    assert found == DIGESTS, "raise ForbiddenCases.version when a world or its cases changed, write world.DIGESTS again"
