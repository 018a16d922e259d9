"""A world of painted fundus photographs whose quality is known, because it is computed and not judged.

grid.py                          pixels, and smooth fields on them
eye.py, vessels.py, lesions.py   an eye, and where its structures are
degradation.py                   what makes its photograph bad
visibility.py                    how much of its structures can then still be seen: the label
world.py, folder.py              numbered photographs with all that is known of them, and as files

Places and lengths are shares of the picture's side (x to the right, y down), so that an eye is the same at every size.
Pictures are painted as planes, float32 of shape (3, S, S) in red, green, blue order and in 0…1. See docs/fundus.md.
"""

from __future__ import annotations

AXES = ("illumination", "blur", "haze", "artefacts")
"""What can be wrong with a photograph; each has a severity from 0 to 1."""

GRADES = ("Good", "Usable", "Reject")
"""Names of the labels 0, 1, 2."""
