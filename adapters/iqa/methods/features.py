"""Features of a picture, handcrafted or of a frozen backbone, and what is learned from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from ...vision.params import Features, Handcrafted, Learned
from ..learning import Arrays, Learner, Lesson, Place

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

    def learn(self, lesson: Lesson, place: Place) -> dict[str, np.ndarray]:
        """Features and labels of all images: nothing here stops early, so validation images teach as well.

        Raises DataError for what cannot be learned from.
        """
        from ...vision.classifiers import fitted

        features = self._features(lesson.rgb, lesson.fov, place)
        fitted(self.learned, features, lesson.labels, lesson.classes, place.seed)
        return {"features": features, "labels": lesson.labels}

    def outputs(self, learned: Arrays, pictures: Sized, classes: int, place: Place) -> np.ndarray:
        """Probabilities, or scores."""
        from ...vision.classifiers import fitted

        answer = fitted(self.learned, learned["features"], learned["labels"], classes, place.seed)
        return answer(self._features(pictures.rgb, pictures.fov, place))

    def _features(self, rgb: np.ndarray, fov: np.ndarray, place: Place) -> np.ndarray:
        """Shape (n, features)."""
        import numpy as np

        if isinstance(self.features, Handcrafted):
            from ...vision.features import handcrafted

            return np.stack([handcrafted(p, f, self.features.groups) for p, f in zip(rgb, fov, strict=True)])
        import torch

        from ...vision.backbones import features

        torch.set_num_threads(place.threads)
        frozen, file = self.features, place.files.get("features.backbone.weights")
        return features(frozen.backbone, frozen.normalise, self.size, rgb, file, place.device, place.seed)


class OnFeatures(_OnFeatures):
    """Grades images."""

    yields: ClassVar[str] = "predictions"
    type: Literal["features"]


class RatingOnFeatures(_OnFeatures):
    """Scores images."""

    yields: ClassVar[str] = "ratings"
    rates: ClassVar[bool] = True
    type: Literal["rating_features"]
