"""Features of a picture, handcrafted or of a frozen backbone, and what is learned from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from ....errors import UsageError
from ....loading.resolve import identity
from ...vision.params import Features, Frozen, Handcrafted, Learned
from ..learning import Arrays, Learner, Lesson
from ..seeing import Place

if TYPE_CHECKING:
    import numpy as np

    from ..pictures import Sized


class _OnFeatures(Learner):
    """What graders and raters share. What is kept are the features and labels: fitting again gives the same."""

    size: Annotated[int, Field(ge=32, le=2048)] = 224
    """Side of the pictures, in pixels."""
    features: Features
    learned: Learned

    @property
    def input_size(self) -> int:
        """Side of the pictures."""
        return self.size

    def see(self, pictures: Sized, place: Place) -> np.ndarray:
        """Shape (n, features)."""
        import numpy as np

        if isinstance(self.features, Handcrafted):
            from ...vision.features import handcrafted, names

            groups = self.features.groups
            rows = [handcrafted(p, f, groups) for p, f in zip(pictures.rgb, pictures.fov, strict=True)]
            return np.reshape(rows, (len(rows), len(names(groups))))
        from ...devices import computing
        from ...vision.backbones import features

        frozen, file = self.features, place.files.get("features.backbone.weights")
        if frozen.backbone.weights is not None and file is None:
            needed = f"the backbone's weights, {frozen.backbone.weights}, are not part of a checkpoint"
            raise UsageError(f"{needed}; predict with the method's spec and --data DIR instead")
        look, seed = frozen.normalise, place.seed
        with computing(place.device, place.threads):
            return features(frozen.backbone, look, self.size, pictures.rgb, file, place.device, seed)

    def sight(self, place: Place) -> dict[str, Any]:
        """Features are kept: other classifiers look at the same ones, and other seeds if no weight is random."""
        drawn = isinstance(self.features, Frozen) and not self.features.backbone.pretrained
        seed = place.seed if drawn else None
        return {"features": identity(self.features), "version": self.version, "seed": seed, "start": self.start()}

    def start(self) -> str:
        """Of timm's weights, where it looks through them."""
        if not isinstance(self.features, Frozen):
            return ""
        from ...vision.backbones import pretrained_digest

        return pretrained_digest(self.features.backbone)

    def learn(self, lesson: Lesson, place: Place) -> dict[str, np.ndarray]:
        """Features and labels of all images: nothing here stops early, so validation images teach as well.

        Raises DataError for what cannot be learned from.
        """
        from ...vision.classifiers import fitted

        fitted(self.learned, lesson.seen, lesson.labels, lesson.classes, place.seed)
        return {"features": lesson.seen, "labels": lesson.labels}

    def outputs(self, learned: Arrays, seen: np.ndarray, classes: int, place: Place) -> np.ndarray:
        """Probabilities, or scores."""
        from ...vision.classifiers import fitted

        return fitted(self.learned, learned["features"], learned["labels"], classes, place.seed)(seen)


class OnFeatures(_OnFeatures):
    """Grades images."""

    yields: ClassVar[str] = "predictions"
    type: Literal["features"]


class RatingOnFeatures(_OnFeatures):
    """Scores images."""

    yields: ClassVar[str] = "ratings"
    rates: ClassVar[bool] = True
    type: Literal["rating_features"]
