"""Find which image has which mask, in a folder, a table, a COCO file or two lists; no pixel is looked at."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from recipes import images, sources
from recipes.archives import is_archive, unpacked
from recipes.columns import letters
from recipes.crops import IGNORED
from recipes.datasets import split_sources
from recipes.display import counted, listed
from recipes.errors import DataError, OptionError, did_you_mean, printable
from recipes.examples import SPLITS, Reading, subfolders
from recipes.folds import split_of
from recipes.image_examples import are_pictures, picture_cells
from recipes.labelled import Missing
from recipes.masks import Region, Regions, is_background, runs_of
from recipes.streams import opened
from recipes.tables import Table, existing, is_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What people call the two folders, without anything but letters and digits; a better name comes first.
_IMAGES = [
    "images",
    "image",
    "imgs",
    "img",
    "pictures",
    "picture",
    "photos",
    "photo",
    "jpegimages",
    "rgb",
    "inputs",
    "input",
    "scans",
    "frames",
    "leftimg8bit",
    "data",
]
_MASKS = [
    "masks",
    "mask",
    "labels",
    "label",
    "annotations",
    "annotation",
    "annots",
    "annot",
    "segmentationclass",
    "segmentations",
    "segmentation",
    "segs",
    "seg",
    "groundtruth",
    "gt",
    "gts",
    "gtfine",
    "targets",
    "target",
    "manual",
    "1stmanual",
    "outlines",
]
_IMAGE_COLUMNS = ("image", "images", "imagepath", "imagefile", "imagename", "img", "picture", "photo", "input")
_FILE_COLUMNS = ("file", "path", "filename", "filepath")
_MASK_COLUMNS = ("mask", "masks", "maskpath", "maskfile", "maskname", "label", "labels", "labelpath", "target")
_TRUTH_COLUMNS = ("annotation", "segmentation", "gt", "groundtruth")

#: The labels where each object has a file of its own, and nothing names them.
OBJECTS = ("background", "object")

# What files of objects may be called from image to image; else each has another name.
_NUMBERED = re.compile(r"(?:masks?|objects?|obj|instances?|inst)?[ _-]*\d+", re.IGNORECASE)

_LAYOUT = "put the images in images/ and their masks, under the same names, in masks/"

#: What a mask is made of: one file or array, several files with a label each, or regions.
Kind = Literal["single", "files", "coco"]

# The folders of images and of masks among roles.
_BOTH = {(None, "images"), (None, "masks")}

_Key = tuple[str, str]
_T = TypeVar("_T")


@dataclass
class Pairs:
    """Images with their masks.

    Args:
        where: what to call the place they are from.
        images: paths, or the images themselves.
        masks: for each image what its mask is read from.
        kind: what masks are made of.
        labels: the labels of files or regions, which places in `masks` count; the first is the background.
        notes: what was left out.
        names: what each image is called, where it is no file of its own.
        groups: what each image belongs to, where a column says so.
    """

    where: str
    images: list[Any]
    masks: list[Any]
    kind: Kind = "single"
    labels: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    names: list[str] | None = None
    groups: list[Hashable] | None = None


@dataclass
class Source:
    """What was found: pairs by split (train, val, test; train alone where there are none), and the folder around."""

    parts: dict[str, Pairs]
    root: str = ""
    stream: Any = None  # what the pairs for training are the first window of, if they are one of many


def find_pairs(data: Any, suffix: str | None = None, group: str = "", reading: Reading | None = None) -> Source:
    """The images with their masks, in whichever of the forms they are given.

    Args:
        data: a folder, a table, a COCO file (.json), a zip or tar of these, a data frame, a data set, images and masks
            as two lists, or a dict of any of these by split.
        suffix: what masks' names have more than their images', at the end or the beginning; found if None.
        group: the column of a table that says what each image belongs to, if it is one.
        reading: how much of a stream to read.

    Raises:
        DataError: nothing can be paired.
        OptionError: no mask has the suffix.
    """
    if sources.names_shards(data):
        data = opened(data)
    if isinstance(data, (str, os.PathLike)):
        return _at(existing(data), suffix, group)
    notes: list[str] = []
    parts = split_sources(data, notes)
    if parts is None and isinstance(data, Mapping):
        names, told = sources.by_split(data, "these data")
        parts, notes = {part: data[name] for part, name in names.items()}, [*notes, *told]
    if not parts:
        return _in_tables(sources.find(data, _IMAGES_WITH_MASKS, reading), group)
    each = {part: find_pairs(one, suffix, group, reading) for part, one in parts.items()}
    found = {part: next(iter(source.parts.values())) for part, source in each.items()}
    next(iter(found.values())).notes[:0] = notes
    return Source(found, stream=each["train"].stream if "train" in each else None)


def _at(path: str, suffix: str | None, group: str) -> Source:
    """What lies at a path."""
    notes: list[str] = []
    if not os.path.isdir(path) and is_archive(path):
        path = unpacked(path, notes)
    if os.path.isdir(path):
        source = _folder(path, suffix, group)
    elif path.lower().endswith(".json") and not _is_list(path):
        source = _with_root({"train": _coco(path)}, os.path.dirname(path))
    elif is_table(path) or path.lower().endswith(".txt"):
        source = _in_tables(sources.find(path, _IMAGES_WITH_MASKS), group)
    else:
        raise DataError(
            f"{printable(path)} is neither a folder nor a table nor a COCO file (.json); give the folder that holds "
            f"images/ and masks/"
        )
    next(iter(source.parts.values())).notes[:0] = notes
    return source


def check_masked(data: Any) -> None:
    """Refuse at once what is not there or holds no pairs, by the names of folders and files alone.

    Raises:
        DataError: what was found instead, and what to do.
    """
    if not isinstance(data, (str, os.PathLike)) or sources.names_shards(data):
        sources.check(data, _IMAGES_WITH_MASKS)
    elif os.path.isdir(path := existing(data)):
        coco_files(path) or sources.tables_in(path) or _layout(path)
    elif not (is_archive(path) or is_table(path) or path.lower().endswith((".json", ".txt"))):
        find_pairs(path)


def _split_folder(name: str) -> str | None:
    """The split that a folder of this name is for; its whole name says it, because training_logs is none."""
    return next((part for part, names in SPLITS.items() if letters(name) in names), None)


def _with_root(parts: dict[str, Pairs], folder: str) -> Source:
    """Named below the folder in which images and COCO files both lie."""
    found = [os.path.abspath(path) for pairs in parts.values() for path in pairs.images[:1]]
    around = [os.path.dirname(path) for path in found] + [os.path.abspath(folder)]
    try:
        common = os.path.commonpath(around)
    except ValueError:  # on different drives
        return Source(parts)
    return Source(parts, os.path.relpath(common) if not os.path.isabs(folder) else common)


# ---------------------------------------------------------------------------------------------------------------------
# Folders


def _folder(root: str, suffix: str | None, group: str = "") -> Source:
    if found := coco_files(root):
        return _with_root({part: _coco(path, part) for part, path in found.items()}, root)
    if sources.tables_in(root) and not {kind for _, kind in _roles(root)} >= {"images", "masks"}:
        return _in_tables(_IMAGES_WITH_MASKS.folder(root), group)
    layout, notes = _layout(root)
    parts = {part: _paired(*folders, suffix) for part, folders in layout.items()}
    next(iter(parts.values())).notes[:0] = notes
    return Source(parts, root)


def _role(name: str) -> tuple[str | None, str | None, int]:
    """Which split a folder's name stands for, whether for images or masks, and how good a name for these it is."""
    plain = letters(name)
    splits = [(None, ""), *((part, word) for part, words in SPLITS.items() for word in words)]
    for split, word in splits:
        for rest in {plain[len(word) :] if plain.startswith(word) else None, plain.removesuffix(word) or None}:
            for kind, words in (("images", _IMAGES), ("masks", _MASKS)):
                if rest in words:
                    return split, kind, words.index(rest)
    return _split_folder(name), None, 0


def _roles(folder: str) -> dict[tuple[str | None, str | None], str]:
    """The best folder for each role."""
    found: dict[tuple[str | None, str | None], tuple[int, str]] = {}
    for entry in subfolders(folder):
        split, kind, rank = _role(entry.name)
        if (split, kind) == (None, None) or (kind and not _any_picture(entry.path)):
            continue
        if (split, kind) not in found or rank < found[split, kind][0]:
            found[split, kind] = rank, entry.path
    return {role: path for role, (_, path) in found.items()}


def _any_picture(folder: str) -> bool:
    return any(images.looks_like_picture(entry.path) for entry in images.walk(folder, set()))


def _loose_pictures(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return any(
            images.is_file(entry) and not images.ignored(entry.name) and images.looks_like_picture(entry.path)
            for entry in entries
        )


def _layout(root: str) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """For each split the folder of images and that of masks, and what was left out."""
    roles = _roles(root)
    pictures, masks = roles.get((None, "images")), roles.get((None, "masks"))
    if pictures and masks:
        return _inner_splits(pictures, masks)
    found: dict[str, tuple[str, str]] = {}
    lonely = []
    for part in SPLITS:
        own, its_images, its_masks = (roles.get((part, kind)) for kind in (None, "images", "masks"))
        around = its_images or own
        inner = _roles(around) if around else {}
        if around and its_masks:
            found[part] = around, its_masks
        elif inner.get((None, "images")) and inner.get((None, "masks")):
            found[part] = inner[None, "images"], inner[None, "masks"]
        elif own and not inner and _loose_pictures(own):
            found[part] = own, own
        elif around:
            lonely.append(around)
    notes = [f"left out {printable(folder)}, which holds no images with masks" for folder in lonely]
    if found:
        return found, notes
    if _each_in_a_folder(root):
        return {"train": (root, root)}, []
    if found := {part: (path, path) for part, path in _parts_of_folders(root).items()}:
        rest = [entry.path for entry in subfolders(root) if (entry.path, entry.path) not in found.values()]
        return found, [f"left out {printable(path)}, which holds no images with masks" for path in rest]
    if _loose_pictures(root):
        return {"train": (root, root)}, []
    raise DataError(f"{printable(root)} {_what_instead(root, roles)}")


def _each_in_a_folder(root: str) -> bool:
    """Whether each image has a folder with its masks, as in 1/images/1.png and 1/masks/."""
    both = [roles for entry in subfolders(root) if (roles := _roles(entry.path)).keys() >= _BOTH]
    alone = [roles for roles in both if len(images.pictures_in(roles[None, "images"])[0]) == 1]
    return len(alone) > 1 and 2 * len(alone) > len(both)


def _parts_of_folders(root: str) -> dict[str, str]:
    """The folders in which each image has a folder with its masks, by the split that their names hold: stage1_train."""
    named = [(split_of(entry.name), entry.path) for entry in reversed(subfolders(root))]
    found = {part: path for part, path in named if part and _each_in_a_folder(path)}
    return {part: found[part] for part in SPLITS if part in found} if "train" in found else {}


def _inner_splits(pictures: str, masks: str) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Splits inside the two folders, such as images/train and masks/train, or the folders themselves."""
    inner = [{_split_folder(entry.name): entry.path for entry in subfolders(folder)} for folder in (pictures, masks)]
    both = [part for part in SPLITS if all(part in found for found in inner)]
    if not both:
        return {"train": (pictures, masks)}, []
    alone = [path for found in inner for part, path in found.items() if part and part not in both]
    notes = [f"left out {printable(path)}, which has no partner in the other folder" for path in alone]
    return {part: (inner[0][part], inner[1][part]) for part in both}, notes


def _what_instead(root: str, roles: Mapping[tuple[str | None, str | None], str]) -> str:
    """Why a folder has no pairs, and what to do."""
    names = [entry.name for entry in subfolders(root)]
    for name in names:
        inner = _roles(os.path.join(root, name))
        if inner.keys() >= _BOTH:
            return f"holds no images with masks; did you mean {printable(os.path.join(root, name))}?"
    missing = [kind for kind in ("images", "masks") if (None, kind) not in roles]
    if empty := [name for name in names if _role(name)[1] in missing]:
        _, others = images.pictures_in(os.path.join(root, empty[0]))
        found = images.left_out(others) if others else "nothing"
        return f"holds no images with masks: {printable(empty[0])} holds no pictures (found {found})"
    if len(missing) == 1:
        hints = [did_you_mean(missing[0], [name], 1) for name in names if _role(name)[1] is None]
        hint = next((hint for hint in hints if hint), "")
        return f"holds no folder of {missing[0]} (found {listed(names, 6)}){hint or f'; {_LAYOUT}'}"
    pictures, others = images.pictures_in(root)
    found = counted(len(pictures), "picture") if pictures else images.left_out(others) if others else "nothing"
    inside = f" in {listed(names, 6)}" if names and pictures else ""
    return f"holds no images with masks (found {found}{inside}); {_LAYOUT}"


# -- pairs by name ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Affixes:
    """What stands before and after the part of a name that an image and its mask share."""

    image: tuple[str, str] = ("", "")
    mask: tuple[str, str] = ("", "")

    def __str__(self) -> str:
        return " and ".join(printable(affix) for affix in self.mask if affix)


def _keys(paths: Iterable[str], folder: str) -> dict[_Key, list[str]]:
    """Paths by the folder below `folder` and the name without its suffix, the same however letters are encoded."""
    found: dict[_Key, list[str]] = {}
    for path in paths:
        below = unicodedata.normalize("NFC", os.path.relpath(path, folder))
        found.setdefault((os.path.dirname(below), os.path.splitext(os.path.basename(below))[0]), []).append(path)
    return found


def _cores(keys: Iterable[_Key], affixes: tuple[str, str]) -> dict[_Key, _Key]:
    """Keys by what is left of their names without the affixes, for those that have both."""
    before, after = affixes
    return {
        (folder, stem[len(before) : len(stem) - len(after)]): (folder, stem)
        for folder, stem in keys
        if stem.startswith(before) and stem.endswith(after) and len(stem) > len(before) + len(after)
    }


def _paired(image_folder: str, mask_folder: str, suffix: str | None) -> Pairs:
    if image_folder == mask_folder and _each_in_a_folder(image_folder):
        return _one_by_one(image_folder, suffix)
    notes: list[str] = []
    found, others = images.pictures_in(image_folder)
    flat = image_folder == mask_folder
    drawn, rest = (found, []) if flat else images.pictures_in(mask_folder)
    if others or rest:
        notes.append(f"left out {images.left_out([*others, *rest])}")
    if not found or not drawn:
        empty = printable(mask_folder if found else image_folder)
        raise DataError(
            f"{empty} holds no pictures (found {images.left_out(others or rest) if others or rest else 'nothing'})"
        )
    pictures, masks = _keys(found, image_folder), _keys(drawn, mask_folder)
    where = printable(os.path.dirname(image_folder) if not flat else image_folder)
    if not flat and suffix is None and (several := _several_files(pictures, drawn, mask_folder)):
        labels, by_key = several
        known = {path for files in by_key.values() for _, path in files}
        return _joined(where, pictures, by_key, notes, "files", labels, [path for path in drawn if path not in known])
    if not flat and not pictures.keys() & masks.keys():
        masks = _without_one_folder(pictures, masks)
    affixes = _affixes(pictures, masks, suffix, flat)
    if affixes is None:
        raise DataError(_no_pairs(image_folder, mask_folder, pictures, masks))
    image_of, mask_of = _cores(pictures, affixes.image), _cores(masks, affixes.mask)
    if flat:
        image_of = {core: key for core, key in image_of.items() if key not in mask_of.values()}
    twice = [paths for core, key in mask_of.items() if core in image_of and len(paths := masks[key]) > 1]
    if twice:
        raise DataError(f"an image has one mask, found {listed(twice[0])}; take away all but one")
    partner = {image_of[core]: masks[key][0] for core, key in mask_of.items() if core in image_of}
    used = {*partner.values(), *(path for key in partner for path in pictures[key])}
    unused = [path for path in drawn if path not in used] if not flat else []
    if flat:
        pictures = {key: paths for key, paths in pictures.items() if key not in mask_of.values()}
        unused = [masks[key][0] for core, key in mask_of.items() if core not in image_of]
    return _joined(where, pictures, partner, notes, unused=unused)


def _joined(
    where: str,
    pictures: Mapping[_Key, list[str]],
    partner: Mapping[_Key, Any],
    notes: list[str],
    kind: Kind = "single",
    labels: tuple[str, ...] = (),
    unused: Sequence[str] = (),
) -> Pairs:
    """The images that have a mask, with it; those without are counted and named."""
    alone = [path for key, paths in pictures.items() if key not in partner for path in paths]
    if alone:
        notes.append(f"left out {counted(len(alone), 'image')} without a mask: {listed(alone)}")
    if unused:
        notes.append(f"left out {counted(len(unused), 'mask')} without an image: {listed(unused)}")
    both = [(path, partner[key]) for key, paths in pictures.items() if key in partner for path in paths]
    return Pairs(where, [path for path, _ in both], [mask for _, mask in both], kind, labels, notes)


def _several_files(
    pictures: Mapping[_Key, Any], drawn: list[str], folder: str
) -> tuple[tuple[str, ...], dict[_Key, tuple[tuple[int, str], ...]]] | None:
    """Labels, and the files of each image, where a folder for each image or for each label holds files with one label.

    Raises:
        DataError: the files in the images' folders are not named after labels.
    """
    ways: list[list[tuple[_Key, str, str]]] = [[], []]
    for path in drawn:
        parts = unicodedata.normalize("NFC", os.path.relpath(path, folder)).split(os.sep)
        stem = os.path.splitext(parts[-1])[0]
        if len(parts) < 2 or (os.sep.join(parts[:-1]), stem) in pictures:
            continue
        by_image = (os.sep.join(parts[:-2]), parts[-2]), stem
        by_label = (os.sep.join(parts[1:-1]), stem), parts[0]
        for way, (key, label) in zip(ways, (by_image, by_label), strict=True):
            if key in pictures:
                way.append((key, label, path))
    best = max(ways, key=len)
    labels = tuple(sorted({label for _, label, _ in best}))
    if 2 * len(best) <= len(drawn) or (best is ways[1] and len(labels) < 2):
        return None
    if best is ways[0] and len(labels) > 64 and 2 * len(labels) > len(best):
        raise DataError(
            f"{printable(folder)} holds {counted(len(best), 'file')} with {counted(len(labels), 'name')} in folders of "
            f"images; a file with one label is called like its label, as in masks/1/cell.png"
        )
    return _layers(best)


def _layers(found: Sequence[tuple[_T, str, str]]) -> tuple[tuple[str, ...], dict[_T, tuple[tuple[int, str], ...]]]:
    """Labels, and for each image its files with the places of their labels, from (image, label, file)."""
    labels = sorted({label for _, label, _ in found})
    names = ("background", *(label for label in labels if not is_background(label)))
    files: dict[_T, list[tuple[int, str]]] = {}
    for image, label, path in found:
        files.setdefault(image, []).append((0 if is_background(label) else names.index(label), path))
    return names, {image: tuple(sorted(its)) for image, its in files.items()}


def _one_by_one(root: str, suffix: str | None) -> Pairs:
    """Pairs where each image has a folder with its masks: one mask, a file for each label, or one for each object."""
    where, notes = printable(root), list[str]()
    drawn: dict[str, list[str]] = {}
    left: dict[str, list[str]] = {"without an image": [], "with several images": [], "without a mask": []}
    for entry in subfolders(root):
        roles = _roles(entry.path)
        inner = [roles.get((None, kind)) for kind in ("images", "masks")]
        pictures, masks = (images.pictures_in(folder)[0] if folder else [] for folder in inner)
        if len(pictures) == 1 and masks:
            drawn[pictures[0]] = masks
        else:
            left[
                "without a mask" if len(pictures) == 1 else "with several images" if pictures else "without an image"
            ] += [entry.path]
    for why, folders in left.items():
        if folders:
            notes.append(f"left out {counted(len(folders), 'folder')} {why}: {listed(folders)}")
    everything, others = images.pictures_in(root)
    around = tuple(os.path.join(folder, "") for folders in left.values() for folder in folders)
    used = {path for image, masks in drawn.items() for path in (image, *masks)}
    if stray := [path for path in everything if path not in used and not path.startswith(around)]:
        notes.append(
            f"left out {counted(len(stray), 'picture')} beside the folders of images and masks: {listed(stray)}"
        )
    if others:
        notes.append(f"left out {images.left_out(others)}")
    if suffix:
        drawn = _with_suffix(drawn, suffix, notes)
    return _of_folders(where, drawn, notes)


def _with_suffix(drawn: Mapping[str, list[str]], suffix: str, notes: list[str]) -> dict[str, list[str]]:
    """The masks of each image whose names begin or end with the suffix."""
    suffix = (
        suffix.removesuffix(os.path.splitext(suffix)[1])
        if os.path.splitext(suffix)[1].lower() in images.SUFFIXES
        else suffix
    )
    stems = {path: os.path.splitext(os.path.basename(path))[0] for masks in drawn.values() for path in masks}
    fit = {path for path, stem in stems.items() if stem.startswith(suffix) or stem.endswith(suffix)}
    if not fit:
        raise OptionError(
            f"no mask's name begins or ends with suffix={suffix!r} (masks: {listed(sorted({*stems.values()}))})"
        )
    if unused := [path for path in stems if path not in fit]:
        notes.append(f"left out {counted(len(unused), 'mask')} without {printable(suffix)}: {listed(unused)}")
    chosen = {image: [path for path in masks if path in fit] for image, masks in drawn.items()}
    if alone := [image for image, masks in chosen.items() if not masks]:
        notes.append(f"left out {counted(len(alone), 'image')} without a mask: {listed(alone)}")
    return {image: masks for image, masks in chosen.items() if masks}


def _of_folders(where: str, drawn: Mapping[str, list[str]], notes: list[str]) -> Pairs:
    """The pairs, by what masks are called: names of labels come again with other images, those of objects do not."""
    pictures = list(drawn)
    found = [(image, _own_name(path, image), path) for image, masks in drawn.items() for path in masks]
    if len(found) == len(drawn):
        notes.append(f"took the image and the mask of each of {counted(len(drawn), 'folder')} of {where}")
        return Pairs(where, pictures, [masks[0] for masks in drawn.values()], notes=notes)
    number = Counter(name for _, name, _ in {(image, name, "") for image, name, _ in found})
    again = sum(number[name] > 1 for _, name, _ in found)
    if 2 * again < len(found) or all(_NUMBERED.fullmatch(name) for name in number):
        notes.append(
            f"took the {counted(len(found), 'mask')} of {counted(len(drawn), 'image')} for an object each; together "
            f"they are the label {OBJECTS[1]}"
        )
        found = [(image, OBJECTS[1], path) for image, _, path in found]
    else:
        notes.append(f"took the names of masks for labels: {listed(sorted(number), 6)}")
    labels, files = _layers(found)
    return Pairs(where, pictures, [files[image] for image in pictures], "files", labels, notes)


def _own_name(path: str, image: str) -> str:
    """A mask's name without its image's in front, as in 1_cell.png."""
    stem, core = (os.path.splitext(os.path.basename(one))[0] for one in (path, image))
    rest = stem.removeprefix(core)
    return stem if rest == stem or rest[:1].isalnum() else rest.strip(" _-.") or stem


def _without_one_folder(pictures: Mapping[_Key, Any], masks: dict[_Key, list[str]]) -> dict[_Key, list[str]]:
    """The masks as if they lay one folder higher, where a single folder in between hides them."""
    tops = {folder.split(os.sep)[0] for folder, _ in masks}
    if len(tops) != 1 or not (top := tops.pop()) or any(folder.split(os.sep)[0] == top for folder, _ in pictures):
        return masks
    return {(folder[len(top) + 1 :], stem): paths for (folder, stem), paths in masks.items()}


def _affixes(
    pictures: Mapping[_Key, Any], masks: Mapping[_Key, Any], suffix: str | None, flat: bool
) -> _Affixes | None:
    """What to take away from names so that most pairs are found; None if nothing pairs.

    Raises:
        DataError: two endings fit equally well.
        OptionError: no mask has the suffix.
    """

    def pairs(affixes: _Affixes) -> dict[_Key, _Key]:
        found, drawn = _cores(pictures, affixes.image), _cores(masks, affixes.mask)
        pairs = {found[core]: key for core, key in drawn.items() if core in found}
        return {image: key for image, key in pairs.items() if not (flat and image == key)}

    contained = _contained(pictures, masks, flat)
    if suffix:
        suffix = (
            suffix.removesuffix(os.path.splitext(suffix)[1])
            if os.path.splitext(suffix)[1].lower() in images.SUFFIXES
            else suffix
        )
        given = [(suffix, ""), ("", suffix)]
        if not any(_cores(masks, affix) for affix in given):
            near = [word for affixes in contained for word in affixes.mask if word]
            raise OptionError(
                f"no mask's name begins or ends with suffix={suffix!r}{did_you_mean(suffix, near)} (masks: "
                f"{listed([stem for _, stem in masks])})"
            )
        candidates = [_Affixes(image, mask) for mask in given for image in (("", ""), _common(pictures))]
    else:
        same = _Affixes()
        if not flat and 2 * len(pictures.keys() & masks.keys()) >= min(len(pictures), len(masks)):
            return same
        candidates = [same, *contained, *([] if flat else [_Affixes(_common(pictures), _common(masks))])]
    found = {affixes: pairs(affixes) for affixes in dict.fromkeys(candidates)}
    best = max(found, key=lambda affixes: len(found[affixes]))
    if not found[best]:
        return None
    rivals = [
        affixes
        for affixes, its in found.items()
        if len(its) >= 0.9 * len(found[best]) and not {*its.values()} & {*found[best].values()} and not suffix
    ]
    if rivals:
        raise DataError(
            f"each image has several masks, with {best} and with {listed(map(str, rivals))} in their names; say "
            f"which, as with suffix={str(best)!r}"
        )
    return best


def _contained(pictures: Mapping[_Key, Any], masks: Mapping[_Key, Any], flat: bool) -> list[_Affixes]:
    """What masks' names have around an image's name, most frequent first.

    A part that is not set off from the name, as in 1 and 11, must be in all of them: chance would do it for some.
    """
    counts: Counter[tuple[str, str]] = Counter()
    some = list(masks)[:500]
    for folder, stem in some:
        for begin in range(len(stem)):
            for end in range(begin + 1, len(stem) + 1):
                if end - begin < len(stem) and (folder, stem[begin:end]) in pictures:
                    counts[stem[:begin], stem[end:]] += 1

    def clean(affix: tuple[str, str]) -> bool:
        before, after = affix
        return not (before[-1:].isalnum() or after[:1].isalnum())

    sure = [affix for affix in counts if clean(affix) or (counts[affix] == len(some) and not flat)]
    ranked = sorted(sure, key=lambda affix: (-counts[affix], not clean(affix), len("".join(affix))))
    return [_Affixes(mask=affix) for affix in ranked[:8]]


def _common(keys: Mapping[_Key, Any]) -> tuple[str, str]:
    """What all names begin and end with, digits excepted, because a name's number tells it from others."""
    stems = [stem for _, stem in keys]
    before = re.sub(r"\d+$", "", _beginning(stems))
    after = _beginning([stem[len(before) :][::-1] for stem in stems])[::-1]
    return before, re.sub(r"^\d+", "", after)


def _beginning(words: Sequence[str]) -> str:
    """What all words begin with."""
    first, last = min(words), max(words)
    same = next((place for place, letter in enumerate(first) if letter != last[place]), len(first))
    return first[:same]


def _no_pairs(image_folder: str, mask_folder: str, pictures: Mapping[_Key, Any], masks: Mapping[_Key, Any]) -> str:
    some, others = listed([stem for _, stem in pictures], 2), listed([stem for _, stem in masks], 2)
    if image_folder == mask_folder:
        return f"{printable(image_folder)} holds {counted(len(pictures), 'picture')} ({some}) but no masks; {_LAYOUT}"
    return (
        f"no image of {printable(image_folder)} ({some}) has a mask of its name in {printable(mask_folder)} "
        f"({others}); give both the same name, or say in suffix what the masks' names have more"
    )


# ---------------------------------------------------------------------------------------------------------------------
# Tables


class _Images(sources.Kind):
    """Images with masks, where they stand in a table or in two lists."""

    thing = "image"
    option = "image"
    target = "mask"
    forms = (
        "give a folder with images/ and masks/, a table with a column of images and one of masks, a COCO file (.json), "
        "a data frame, a data set, or two lists, (images, masks)"
    )

    def check_folder(self, root: str) -> None:
        """Refuse a folder without pairs."""
        coco_files(root) or _layout(root)

    def folder(self, root: str) -> sources.Source:
        """The tables of a folder."""
        found = sources.folder_of_tables(root)
        if found is None:
            raise DataError(f"{printable(root)} holds no table")
        return found


_IMAGES_WITH_MASKS = _Images()


def _in_tables(source: sources.Source, group: str) -> Source:
    """Pairs by split from tables with a column of images and one of masks, paths relative to the table."""
    parts: dict[str, Pairs] = {}
    notes = source.notes
    for part, table in source.tables.items():
        try:
            parts[part] = pairs_in(table, group)
        except DataError as error:
            if len(source.tables) == 1 or part == "train":
                raise
            notes.append(f"left out {part}: {error}")
    next(iter(parts.values())).notes[:0] = notes
    return Source(parts, source.root, source.stream)


def pairs_in(table: Table, group: str) -> Pairs:
    """The images and masks of a table's rows; what cannot be used is counted and named."""
    name = printable(table.name)
    columns = _columns(table)
    if columns is None:
        known = f"(columns: {listed(table.columns, 8)}); call them image and mask"
        raise DataError(f"{name} has no columns of images and masks {known}")
    image_cells, mask_cells = (picture_cells(table.columns[column], table.folder) for column in columns)
    both = list(zip(image_cells, mask_cells, strict=True))
    bare = [place for place, pair in enumerate(both) if None in [one if one is None else 0 for one in pair]]
    gone = [place for place, pair in enumerate(both) if any(isinstance(one, Missing) for one in pair)]
    kept = [place for place in range(len(both)) if place not in {*bare, *gone}]
    lost = [
        f"{next(one for one in both[place] if isinstance(one, Missing))} ({table.row_name(place)})" for place in gone
    ]
    if not kept:
        found = listed([*lost, *map(table.row_name, bare)])
        raise DataError(f"{name} names no image and mask that exist: {found}")
    notes = []
    if bare:
        rows = listed(map(table.row_name, bare))
        notes.append(f"left out {counted(len(bare), 'row')} of {name} without an image or a mask: {rows}")
    if lost:
        notes.append(f"left out {counted(len(lost), 'row')} of {name} whose files do not exist: {listed(lost)}")
    pairs = Pairs(name, [both[place][0] for place in kept], [both[place][1] for place in kept], notes=notes)
    if not all(isinstance(image, str) for image in pairs.images):
        pairs.names = list(map(table.row_name, kept))
    if group in table.columns:
        pairs.groups = [str(table.columns[group][place]) for place in kept]
    return pairs


def _columns(table: Table) -> tuple[str, str] | None:
    """The columns of images and of masks, by their names or else the first two that hold pictures."""
    plain = {letters(name): name for name in reversed(table.columns)}
    image, mask = (
        next((plain[name] for name in names if name in plain), None)
        for names in ((*_IMAGE_COLUMNS, *_FILE_COLUMNS), (*_MASK_COLUMNS, *_TRUTH_COLUMNS))
    )
    if image and mask:
        return image, mask
    found = [name for name, cells in table.columns.items() if are_pictures(cells)]
    return (found[0], found[1]) if len(found) > 1 else None


# ---------------------------------------------------------------------------------------------------------------------
# COCO


def coco_files(root: str) -> dict[str, str]:
    """The COCO files of a folder by split, where it or its annotations/ holds such files and no masks."""
    if {kind for _, kind in _roles(root)} >= {"images", "masks"}:
        return {}
    found: dict[str, str] = {}
    folders = [root, os.path.join(root, "annotations")]
    for entry in subfolders(root):
        if part := _split_folder(entry.name):
            found.update((part, path) for path in _jsons(entry.path))
    for folder in folders:
        for path in _jsons(folder):
            part = split_of(os.path.basename(path)) or "train"
            if part not in found or "instances" in path:  # beside them COCO has captions and keypoints
                found[part] = path
    return {part: found[part] for part in SPLITS if part in found}


def _jsons(folder: str) -> list[str]:
    if not os.path.isdir(folder):
        return []
    names = sorted(name for name in os.listdir(folder) if name.lower().endswith(".json") and not images.ignored(name))
    return [os.path.join(folder, name) for name in names]


def _coco(path: str, part: str | None = None) -> Pairs:
    """The images of a COCO file with their regions; what is no region is counted."""
    name = printable(path)
    content = _coco_content(path)
    try:
        categories = sorted((entry["id"], str(entry["name"])) for entry in content["categories"])
        declared = {entry["id"]: entry for entry in content["images"]}
        labels = ("background", *dict.fromkeys(label for _, label in categories if label.lower() != "background"))
        place = {key: labels.index(label) if label in labels else 0 for key, label in categories}
        regions: dict[Any, list[Region]] = {key: [] for key in declared}
        broken: list[str] = []
        boxes = 0
        for entry in content["annotations"]:
            image = declared.get(entry["image_id"])
            label = IGNORED if entry.get("iscrowd") else place.get(entry["category_id"])
            if not entry.get("segmentation") and entry.get("bbox"):
                boxes += 1
            elif image is None or label is None or (region := _region(entry.get("segmentation"), image, label)) is None:
                broken.append(f"annotation {entry.get('id')} of {image['file_name'] if image else 'no image'}")
            else:
                regions[entry["image_id"]].append(region[0])
                if region[1]:
                    broken.append(f"a part of annotation {entry.get('id')} of {image['file_name']}")
        names = {key: str(entry["file_name"]) for key, entry in declared.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{name} is no complete COCO file ({type(error).__name__}: {printable(str(error))})") from error
    if not any(regions.values()):
        found = f"{counted(boxes, 'box')} but no masks" if boxes else f"no regions ({len(broken)} broken)"
        raise DataError(f"{name} holds {found}; a segmenter learns from polygons or run lengths (segmentation)")
    notes = []
    if boxes:
        notes.append(f"left out {counted(boxes, 'box')} of {name} without a polygon or run lengths")
    if broken:
        notes.append(f"left out {counted(len(broken), 'empty or broken region')} of {name}: {listed(broken)}")
    paths = _image_paths(path, list(names.values()), part)
    lost = [names[key] for key in names if names[key] not in paths]
    if lost:
        notes.append(f"left out {counted(len(lost), 'image')} of {name} whose files do not exist: {listed(lost)}")
    here = [key for key in names if names[key] in paths]
    masks = [Regions(path, names[key], _declared_size(declared[key]), tuple(regions[key])) for key in here]
    return Pairs(name, [paths[names[key]] for key in here], masks, "coco", labels, notes)


def _is_list(path: str) -> bool:
    """Whether a JSON file is a list, as tables are."""
    with open(path, "rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")


def _coco_content(path: str) -> dict[str, Any]:
    name = printable(path)
    try:
        content = json.loads(Path(path).read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name} is no JSON ({printable(str(error))})") from error
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in parts):
        raise DataError(f"{name} is no table and no COCO file; expected lists of images, annotations and categories")
    if not content["images"] or not content["categories"]:
        raise DataError(f"{name} lists no {'images' if not content['images'] else 'categories'}")
    return content


def _declared_size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    size = image.get("width"), image.get("height")
    return (int(size[0]), int(size[1])) if size[0] and size[1] else None


def _region(code: Any, image: Mapping[str, Any], place: int) -> tuple[Region, bool] | None:
    """A region, and whether a part of it is broken; None if nothing of it can be drawn."""
    size = _declared_size(image)
    if isinstance(code, dict):
        runs = _runs(code, size)
        return None if runs is None else (Region(place, runs=runs), False)
    if not isinstance(code, list):
        return None
    outlines = [code] if code and not isinstance(code[0], list) else code
    good = tuple(array for outline in outlines if (array := _outline(outline, size)) is not None)
    return (Region(place, good), len(good) < len(outlines)) if good else None


def _outline(values: Any, size: tuple[int, int] | None) -> NDArray[np.float64] | None:
    """A polygon of three points or more, near the image: one far away would be traced pixel by pixel."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    far = 2.0 * max(size or (32_768,))
    if array.ndim != 1 or len(array) < 6 or len(array) % 2 or not np.isfinite(array).all() or (abs(array) > far).any():
        return None
    return array if len(np.unique(array.reshape(-1, 2), axis=0)) > 2 else None


def _runs(code: Mapping[str, Any], size: tuple[int, int] | None) -> Any:
    counts = code.get("counts")
    try:
        height, width = (int(side) for side in code["size"])
        runs = runs_of(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    fits = size in (None, (width, height)) and runs.ndim == 1 and (runs >= 0).all() and runs.sum() == height * width
    return runs if fits and runs[1::2].sum() else None


def _image_paths(path: str, names: list[str], part: str | None) -> dict[str, str]:
    """The file of each name, all from one folder: that of the COCO file, or one beside it.

    Raises:
        DataError: none is found.
    """
    wanted = part or split_of(os.path.basename(path))

    def fit(folder: str) -> tuple[int, bool, int]:
        its_part = _role(re.sub(r"\d+$", "", os.path.basename(folder)))[0]
        hits = sum(os.path.isfile(os.path.join(folder, name)) for name in names[:50])
        return min(hits, 1), wanted is not None and its_part == wanted, hits

    best = max(dict.fromkeys(_places(os.path.dirname(path))), key=fit)
    found = {name: file for name in names if os.path.isfile(file := os.path.join(best, name))}
    if not found:
        raise DataError(
            f"none of the {counted(len(names), 'image')} of {printable(path)} is found ({listed(names)}); put them in "
            f"images/ beside it"
        )
    return found


def _places(folder: str) -> Iterator[str]:
    """The folder of a COCO file and the folders in it, two deep; also those around a folder for annotations."""
    own = [folder or "."]
    if _role(os.path.basename(os.path.abspath(folder or ".")))[1] == "masks":
        own.append(os.path.normpath(os.path.join(folder or ".", os.pardir)))
    for around in own:
        yield around
        for entry in subfolders(around):
            yield entry.path
            yield from (below.path for below in subfolders(entry.path))
