"""What a spec can say of images and labels. Nothing heavy is imported here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from ....components import Data, DataFile, DataFolder, Strict

if TYPE_CHECKING:
    from ..items import Grading

Share = Annotated[float, Field(ge=0, lt=1)]


def with_group(pattern: str | None) -> str | None:
    """`pattern`, when it is a regular expression with a group for the patient, or None. Raises ValueError."""
    try:
        groups = re.compile(pattern or "()").groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression ({error})") from error
    if groups < 1:
        raise ValueError(f"{pattern!r} has no group; put the patient's part in parentheses")
    return pattern


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(names)}: each class needs a name of its own")
    return names


class Source(Data):
    """What all sources share."""

    patient_pattern: str | None = None
    """Regular expression, its first group the patient in an image's name; a patient's images are resampled together,
    and are never in two splits."""
    validation_share: Share = 0.15
    """Share of the training patients that early stopping looks at, where no validation images are named."""

    @field_validator("patient_pattern")
    @classmethod
    def _has_a_group(cls, pattern: str | None) -> str | None:
        return with_group(pattern)

    def load(self, files: Mapping[str, Path], limit: int | None) -> Grading:
        """The splits; `limit` cuts the images to be graded. Raises DataError with the line."""
        raise NotImplementedError


class Listed(Source):
    """CSV files with a row an image: the file's name, and its label."""

    labels: DataFile
    """Labels of the images to be graded."""
    train: DataFile | None = None
    """Labels of the training images: what methods learn from, never the images to be graded."""
    validation: DataFile | None = None
    images: DataFolder | None = None
    """Folder of the pictures, searched with its sub-folders; the suffix may be another than in the list."""
    train_images: DataFolder | None = None
    """The same for the training images, where they are elsewhere."""
    validation_images: DataFolder | None = None
    crop: Literal["field_of_view", "none"] = "field_of_view"
    """Cut pictures to their field of view, or take them as they are."""
    image_column: str = "image"
    group_columns: tuple[str, ...] = ()
    """Columns by which results are also shown apart, `DR_grade` for EyeQ."""

    @model_validator(mode="after")
    def _splits_are_whole(self) -> Listed:
        if self.validation is not None and self.train is None:
            raise ValueError("`validation` needs `train`")
        if self.images is None and (self.train_images or self.validation_images):
            raise ValueError("`train_images` and `validation_images` need `images`, the pictures to be graded")
        return self

    @property
    def label(self) -> tuple[str, Callable[[str], float]]:
        """Column of the label, and how it is read."""
        raise NotImplementedError

    def offers(self) -> frozenset[str]:
        """Labels to learn from, and pictures, as far as files are named."""
        train = {"train_labels"} if self.train else set()
        pictures = ({"images"} | ({"train_images"} if train else set())) if self.images else set()
        return frozenset(train | pictures)

    def load(self, files: Mapping[str, Path], limit: int | None) -> Grading:
        """See listed.py."""
        from .listed import load

        return load(self, files, limit)


class GradedImages(Listed):
    """Quality grades from CSV files, as EyeQ's."""

    yields: ClassVar[str] = "graded_image"
    type: Literal["graded_images"]
    label_column: str = "quality"
    label_names: tuple[str, ...] = ()
    """What the label column says, in the order of the classes; class indices 0, 1, … when empty."""

    @property
    def label(self) -> tuple[str, Callable[[str], float]]:
        """A class."""
        from ..labels import class_index

        return self.label_column, class_index(self.label_names)


class RatedImages(Listed):
    """Quality scores (mean opinions, say) from CSV files."""

    yields: ClassVar[str] = "rated_image"
    type: Literal["rated_images"]
    label_column: str = "mos"

    @property
    def label(self) -> tuple[str, Callable[[str], float]]:
        """A number."""
        from ..labels import score

        return self.label_column, score


class ImageFolders(Source):
    """A folder for each class, as DRIMDB is; split into training and test by the hash of patient or name."""

    yields: ClassVar[str] = "graded_image"
    type: Literal["image_folders"]
    folder: DataFolder = "."
    """Holds the folders of the classes."""
    class_folders: Annotated[tuple[str, ...], Field(min_length=2)]
    """Names of the folders, in the order of the classes."""
    crop: Literal["field_of_view", "none"] = "field_of_view"
    test_share: Annotated[float, Field(gt=0, le=1)] = 0.5

    @field_validator("class_folders")
    @classmethod
    def _different(cls, folders: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(folders)

    def offers(self) -> frozenset[str]:
        """Everything, unless all is for testing."""
        return frozenset({"images"} | ({"train_labels", "train_images"} if self.test_share < 1 else set()))

    def load(self, files: Mapping[str, Path], limit: int | None) -> Grading:
        """See folders.py."""
        from .folders import load

        return load(self, files["folder"], limit)


class ImageDataset(Source):
    """A Hugging Face data set of pictures: a folder that `save_to_disk` or `load_dataset` can read."""

    yields: ClassVar[str] = "graded_image"
    type: Literal["image_dataset"]
    folder: DataFolder = "."
    test: str = "test"
    """Name of the split to be graded."""
    train: str | None = "train"
    validation: str | None = None
    image_column: str = "image"
    label_column: str = "label"
    name_column: str | None = None
    """Column of the images' names; their numbers when there is none."""
    label_names: tuple[str, ...] = ()
    """As for `graded_images`; the data set's own class indices when empty."""
    crop: Literal["field_of_view", "none"] = "field_of_view"

    def offers(self) -> frozenset[str]:
        """Pictures; labels to learn from where a training split is named."""
        return frozenset({"images"} | ({"train_labels", "train_images"} if self.train else set()))

    def load(self, files: Mapping[str, Path], limit: int | None) -> Grading:
        """See dataset.py."""
        from .dataset import load

        return load(self, files["folder"], limit)


class Sweep(Strict):
    """Eyes whose pictures get worse along one axis at a time."""

    eyes: Annotated[int, Field(ge=1)] = 12
    severities: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=2)] = (
        0.0,
        0.25,
        0.5,
        0.75,
        1.0,
    )

    @field_validator("severities")
    @classmethod
    def _told_apart(cls, severities: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{s:.2f}" for s in severities}) < len(severities):
            raise ValueError("severities must differ by a hundredth at least; images are named by them")
        return severities


class FundusWorld(Data):
    """The embedded synthetic eyes, whose degradation is known (docs/fundus.md)."""

    yields: ClassVar[str] = "graded_image"
    type: Literal["fundus_world"]
    seed: Annotated[int, Field(ge=0)] = 0
    size: Annotated[int, Field(ge=64, le=512)] = 128
    """Side of the pictures, in pixels."""
    train: Annotated[int, Field(ge=0)] = 600
    validation: Annotated[int, Field(ge=0)] = 100
    test: Annotated[int, Field(ge=1)] = 400
    sweep: Sweep | None = Sweep()

    def offers(self) -> frozenset[str]:
        """Everything, unless there are no training images."""
        return frozenset({"images"} | ({"train_labels", "train_images"} if self.train else set()))

    def load(self, files: Mapping[str, Path], limit: int | None) -> Grading:
        """See world.py."""
        from .world import load

        return load(self, limit)
