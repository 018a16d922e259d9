"""Networks: backbone × branches of image and priors × fusion × loss × recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from ...vision.params import Design, Loss, RatingLoss
from ..learning import Arrays, Learner, Lesson
from ..seeing import Place

if TYPE_CHECKING:
    import numpy as np

    from ..pictures import Sized


class _Network(Design, Learner):
    """What graders and raters share."""

    loss: Loss | RatingLoss

    @model_validator(mode="after")
    def _a_weight_for_each_head(self) -> Self:
        if self.loss.heads and len(self.loss.heads) != self.heads:
            raise ValueError(f"loss.heads has {len(self.loss.heads)} weights; this network has {self.heads} heads")
        return self

    @property
    def input_size(self) -> int:
        """Side of the network's input."""
        return self.size

    def see(self, pictures: Sized, place: Place) -> np.ndarray:
        """Colours and priors of all branches, shape (n, channels, size, size), uint8."""
        from ...vision.inputs import planes

        return planes(self, pictures.rgb, pictures.fov)

    def start(self) -> str:
        """Of timm's weights, where it starts from them."""
        from ...vision.backbones import pretrained_digest

        return pretrained_digest(self.backbone)

    def learn(self, lesson: Lesson, place: Place) -> dict[str, np.ndarray]:
        """The weights of the epoch with the least validation loss. Raises ModelError, DataError."""
        from ...devices import computing
        from ...vision.training import Lesson as Planes
        from ...vision.training import train

        with computing(place.device, place.threads):
            return train(
                self,
                self.loss,
                Planes(lesson.seen, lesson.labels, lesson.validation, lesson.classes),
                seed=place.seed,
                device=place.device,
                weights_file=place.files.get("backbone.weights"),
                checkpoint=None if place.scratch is None else place.scratch / "training.safetensors",
                progress=place.progress,
            )

    def outputs(self, learned: Arrays, seen: np.ndarray, classes: int, place: Place) -> np.ndarray:
        """Probabilities, or scores in the units of the ratings."""
        from ...devices import computing
        from ...vision.training import predict

        with computing(place.device, place.threads):
            return predict(self, self.loss, classes, learned, seen, device=place.device)

    def saliency(self, learned: Arrays, seen: np.ndarray, classes: int, of: int, place: Place) -> np.ndarray | None:
        """Grad-CAM of one class."""
        from ...devices import computing
        from ...vision.saliency import grad_cam

        with computing(place.device, place.threads):
            return grad_cam(self, self.loss, classes, learned, seen, of, place.device)

    def described(self, pictures: Sized, classes: int, place: Place) -> tuple[dict[str, float], dict[str, Any]]:
        """Parameters, multiply-adds of one image, milliseconds of one image alone; pictures of the priors."""
        from ...devices import computing
        from ...vision.losses import outputs
        from ...vision.size import latency_ms, size_of

        logits = outputs(self.loss, classes)
        with computing(place.device, place.threads):
            parameters, macs = size_of(self, logits)
            latency = round(latency_ms(self, logits, place.device), 3)
        cost = {"parameters": float(parameters), "macs": float(macs), "latency_ms": latency}
        return cost, self._priors_shown(pictures)

    def _priors_shown(self, pictures: Sized) -> dict[str, Any]:
        from ...vision.priors import prior_map
        from ..exhibits import picture_rows

        priors = list(dict.fromkeys(prior for branch in self.branches for prior in branch.priors))
        if not priors or not len(pictures.rgb):
            return {}
        rows = [
            [pictures.rgb[i], *(prior_map(p, pictures.rgb[i], pictures.fov[i]) for p in priors)]
            for i in range(len(pictures.rgb))
        ]
        named = ", ".join(p.type.replace("_", " ") for p in priors)
        return {"priors": picture_rows(f"Pictures and their priors: {named}", rows)}


class Network(_Network):
    """Grades images."""

    yields: ClassVar[str] = "predictions"
    type: Literal["network"]
    loss: Loss = Loss()


class RatingNetwork(_Network):
    """Scores images."""

    yields: ClassVar[str] = "ratings"
    rates: ClassVar[bool] = True
    type: Literal["rating_network"]
    loss: RatingLoss = RatingLoss()
