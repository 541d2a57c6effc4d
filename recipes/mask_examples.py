"""Read images with masks: every mask is looked at once, and from all of them follows how masks are read."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes import images
from recipes.crops import IGNORED
from recipes.display import counted, listed, say
from recipes.errors import DataError, ImageError, OptionError, did_you_mean, printable
from recipes.examples import Examples, Reading, Splits, in_threads, path_of, watched
from recipes.image_examples import PICTURES, copies
from recipes.labelled import Rows, go_on_with, leave_out, named_groups, note_copies, note_groups, parted
from recipes.looks import Look, looked
from recipes.mask_keys import Key, find_key, wished
from recipes.mask_pairs import OBJECTS, Pairs, Source, find_pairs, pairs_in
from recipes.masks import (
    MOST_LABELS,
    Colour,
    Mask,
    MaskCode,
    Region,
    Regions,
    SizeError,
    Turned,
    fitted,
    is_background,
    label_colours,
    nearest,
    opened_mask,
    pack,
    stacked,
    unpack,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from recipes.tables import Table

# Colours in a mask without a table: more labels than this are hardly meant.
_MOST_COLOURS = 64

# A colour that covers less than this share of all masks, and never a square of 3 × 3 pixels, is no label's own but
# comes from smooth edges.
_RARE = 0.01

# How far JPEG shifts a colour, in steps of red, green and blue.
_SHIFT = 60.0

# Colours of one mask that are kept for counting.
_KEPT = 4096


def read_masked(
    data: Any,
    val: Any = None,
    *,
    labels: Sequence[str] | None = None,
    colours: Any = None,
    ignore: Any = None,
    suffix: str | None = None,
    reading: Reading = Reading(),  # noqa: B008
) -> tuple[Splits, MaskCode]:
    """Images with their masks, in splits, and how the masks are read.

    Args:
        data: a folder with `images/` and `masks/` (perhaps in `train/`, `val/` and `test/`, or these inside), a table
            with columns of images and masks, a COCO file, two lists, or whatever else `find_pairs` takes.
        val: the same for validation, or None to find or split one.
        labels: the labels' names in the order of the masks' values; found or made up if None.
        colours: for masks in colours names with colours, or a file with lines such as `sky,128,128,128`; found if None.
        ignore: a value, a colour or a label's name, or several, whose pixels do not count; an empty list for none.
            If None, 255 beside values 0, 1, 2 … does not count.
        suffix: what masks' names have more than their images', as `_mask`; found if None.
        reading: how to split, and what to leave out.

    Raises:
        DataError: nothing can be paired, sizes differ, or masks hold what no label has.
        OptionError: an option names what is not there.
    """
    source = find_pairs(data, suffix, reading.group, reading)
    parts = dict(source.parts)
    if "train" not in parts:
        raise DataError(f"{printable(source.root)} holds no images for training (found {listed(parts)})")
    if val is not None:
        if "val" in parts:
            number = counted(len(parts["val"].images), "image")
            parts["train"].notes.append(
                f"left out {number} of {parts['val'].where} for validation, as others are given"
            )
        given = find_pairs(val, suffix, reading.group, reading)
        part, parts["val"] = _chosen(given, ("val", "train", "test"))
        if given.stream is not None and part == "train":
            parts["val"].notes.append(given.stream.first_alone(len(parts["val"].images)))
    wishes = wished(ignore)
    key = find_key(labels, colours, source.root if parts["train"].kind == "single" else None)
    for pairs in parts.values():
        _name_objects(pairs, key.names if key else ())
    rows = _rows(parts, reading, source.root)
    seen = {part: _looked(pairs) for part, pairs in parts.items()}
    notes = [note for pairs in parts.values() for note in pairs.notes]
    notes += [note for sight in seen.values() for note in sight.notes]
    stacks = {pairs.kind for pairs in parts.values()}
    if len(stacks) > 1:
        raise DataError(f"{parts['train'].where} and {parts['val'].where} hold masks of different forms")
    if stacks == {"single"}:
        names, code = _found_code([look for sight in seen.values() for look in sight.looks], key, wishes, notes)
    else:
        names, code = _stacked_code(list(parts.values()), key, wishes)
    found = {part: _examples(parts[part], sight, names, code) for part, sight in seen.items()}
    _check_amounts(found, names, notes)
    rows = {part: own.take(seen[part].places) for part, own in rows.items()}
    alike = copies({part: [look.image for look in sight.looks] for part, sight in seen.items()}, rows)
    note_copies(rows, alike, PICTURES, "", notes)
    note_groups(rows, notes)
    splits = _split(found, reading, alike.forms["train"], rows["train"], notes)
    _check_counting(splits, "val" in found)
    if source.stream is not None:
        go_on_with(source.stream, splits, partial(_further, labels=names, left_out=reading.left_out), "image", reading)
    splits.paths = path_of(data), path_of(val)
    splits.reading = reading
    return splits, code


def _further(table: Table, stream: Any, labels: tuple[str, ...], left_out: frozenset[str]) -> Examples | None:
    """The images of a later window with their masks, which nobody looks at any more; None if none can be used."""
    try:
        pairs = pairs_in(table, "")
    except DataError:
        stream.leave("without an image or a mask", table.names or [])
        return None
    names = pairs.names or []
    if bare := {*(table.names or [])}.difference(names):
        stream.leave("without an image or a mask", sorted(bare))
    kept = [place for place, name in enumerate(names) if name not in left_out]
    return Examples(pairs.images, pairs.masks, labels, names=names).take(kept) if kept else None


def read_masked_held_out(data: Any, labels: tuple[str, ...], code: MaskCode, suffix: str | None = None) -> Examples:
    """Images with masks to score a model on: of `test/` in a folder with splits, or else of `val/`.

    Raises:
        DataError: nothing can be paired, sizes differ, or masks hold what the model's labels do not have.
    """
    source = find_pairs(data, suffix)
    part, pairs = _chosen(source, ("test", "val", "train"))
    _name_objects(pairs, labels)
    sight = _looked(pairs)
    notes = [*pairs.notes, *sight.notes]
    if len(source.parts) > 1:
        say(f"note: evaluating on {part}")
    if pairs.kind == "single" and code.kind == "colours":
        _check_colours(sight.looks, code, None, notes)
    for note in notes:
        say(f"note: {note}")
    examples = _examples(pairs, sight, labels, code)
    examples.root = source.root
    return examples


def _chosen(source: Source, order: Sequence[str]) -> tuple[str, Pairs]:
    return next((part, source.parts[part]) for part in order if part in source.parts)


def _name_objects(pairs: Pairs, labels: Sequence[str]) -> None:
    """Call objects, which nothing else names, as the one label beside the background is called."""
    own = [label for label in labels if not is_background(label)]
    if pairs.kind == "files" and pairs.labels == OBJECTS and len(own) == 1:
        pairs.labels = (OBJECTS[0], own[0])


def _rows(parts: dict[str, Pairs], reading: Reading, root: str) -> dict[str, Rows]:
    """The pairs as rows, which know their names and groups; what is to be left out is taken out of both."""
    rows = {}
    for part, pairs in parts.items():
        own = Rows(pairs.where, pairs.images, pairs.masks, pairs.names, pairs.groups, root=root)
        if own.names is None and not all(isinstance(image, str) for image in pairs.images):
            own.names = [f"image {place}" for place in range(len(pairs.images))]
        if reading.group and own.groups is None:
            own.groups = named_groups(list(map(own.name, range(len(pairs.images)))), reading.group)
        rows[part] = own
    if reading.left_out:
        leave_out(rows, reading.left_out, parts["train"].notes)
        for part, own in rows.items():
            parts[part] = replace(parts[part], images=own.inputs, masks=own.targets, names=own.names)
    return rows


def _split(
    found: dict[str, Examples], reading: Reading, forms: Sequence[Hashable], rows: Rows, notes: list[str]
) -> Splits:
    train = found["train"]
    if "val" in found:
        return Splits(train, found["val"], found.get("test"), notes, rows.root)
    if len(train) < 2:
        raise DataError(
            f"{printable(rows.root) or 'the data'} holds 1 image with a mask; two or more are needed, one to validate"
        )
    kept, held_out = parted([int(any(row)) for row in train.amounts or ()], reading, forms, rows)
    return Splits(train.take(kept), train.take(held_out), found.get("test"), notes, rows.root)


# ---------------------------------------------------------------------------------------------------------------------
# Looking at every mask


@dataclass
class _Look:
    """What one look at an image and its mask found.

    Args:
        target: what the mask is read from, turned if it must be.
        error: why it cannot be used.
        keys: the mask's values, or its colours as numbers, each once; for several layers the places of labels.
        counts: how many pixels each of them has.
        solid: those that fill a square of 3 × 3 pixels somewhere.
        coloured: whether keys are colours.
        lossy: whether the file's format changes values.
        palette: the colours of the keys, where the file says so.
        several: pixels that belong to several labels.
        unsure: whether the mask fits its image with and without the image's EXIF orientation.
        name: what to call the mask.
        image: the look at its image.
    """

    target: Any = None
    error: DataError | None = None
    keys: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    solid: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    coloured: bool = False
    lossy: bool = False
    palette: tuple[Colour, ...] = ()
    several: int = 0
    unsure: bool = False
    name: str = ""
    image: Look | None = None


@dataclass
class _Sight:
    """The looks at pairs that can be used, their places, and what was noticed."""

    looks: list[_Look]
    places: list[int]
    unreadable: list[str]
    notes: list[str]


def _looked(pairs: Pairs) -> _Sight:
    """Every image and every mask, tried and counted; unreadable ones are left out, wrong sizes are an error."""
    if not pairs.images:
        raise DataError(f"{pairs.where} holds no image with a mask{''.join(f'; {note}' for note in pairs.notes)}")
    look = partial(_look, pairs)
    results = list(watched(in_threads(look, range(len(pairs.images))), "checking masks", len(pairs.images)))
    misfits = [str(result.error) for result in results if isinstance(result.error, SizeError)]
    if misfits:
        raise DataError(
            f"a mask has the size of its image, {counted(len(misfits), 'mask')} of {len(results):,} with another: "
            f"{_lines(misfits)}"
        )
    lost = [result for result in results if isinstance(result.error, ImageError)]
    other = next(
        (result.error for result in results if result.error and not isinstance(result.error, ImageError)), None
    )
    if other is not None:
        raise other
    places = [place for place, result in enumerate(results) if not result.error]
    notes = []
    if lost:
        summary = (
            f"{counted(len(lost), 'unreadable pair')} of {len(results):,}: {_lines([str(one.error) for one in lost])}"
        )
        if 2 * len(lost) > len(results):
            raise DataError(f"most images or masks cannot be read, {summary}")
        notes.append(f"left out {summary}")
    looks = [results[place] for place in places]
    if turned := [result for result in looks if isinstance(result.target, Turned)]:
        notes.append(f"turned {counted(len(turned), 'mask')} drawn on the image as it was before its EXIF orientation")
    if unsure := [result.name for result in looks if result.unsure]:
        notes.append(
            f"{counted(len(unsure), 'mask')} of the size that the image has with and without its EXIF orientation, "
            f"taken as drawn on the image as it is displayed: {listed(unsure)}"
        )
    if several := [result for result in looks if result.several]:
        pixels = sum(result.several for result in several)
        notes.append(
            f"{counted(pixels, 'pixel')} of {counted(len(several), 'mask')} with several labels: the smallest region "
            f"is on top"
        )
    files = [str(result.error.file) for result in lost if isinstance(result.error, ImageError)]
    return _Sight(looks, places, files, notes)


def _lines(texts: list[str]) -> str:
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


def _look(pairs: Pairs, place: int) -> _Look:
    target = pairs.masks[place]
    name = f"mask {place}" if not isinstance(target, str) else printable(target)
    try:
        image = looked(pairs.images[place])
        size, orientation = image.size, image.orientation
        try:
            look = _counted(target, size, name)
            look.unsure = orientation > 1 and (orientation < 5 or size[0] == size[1]) and not _oriented(target)
        except SizeError:
            if orientation < 5:
                raise
            look = _counted(target, size[::-1], name)
            look.target = Turned(target, orientation)
        look.image = image
        return look
    except DataError as error:
        return _Look(error=error, name=name)


def _oriented(target: Any) -> bool:
    """Whether a mask has an EXIF orientation of its own, which says how it lies."""
    layers = [layer for _, layer in target] if isinstance(target, tuple) else [target]
    for layer in layers:
        if isinstance(layer, str) or hasattr(layer, "getexif"):
            with images.opened(layer) as picture:
                if images.orientation_of(picture) > 1:
                    return True
    return False


def _counted(target: Any, size: tuple[int, int], name: str) -> _Look:
    if isinstance(target, (Regions, tuple)):
        mask, several = stacked(target, size)
        counts = np.bincount(mask.ravel(), minlength=256)
        keys = np.flatnonzero(counts)
        return _Look(target, keys=keys, counts=counts[keys], several=several, name=name)
    read = fitted(opened_mask(target, name), size)
    coloured = read.pixels.ndim == 3
    values = read.packed() if coloured else read.pixels
    keys, counts = _histogram(values)
    solid = _solid(values) if len(keys) > 2 else keys
    if len(keys) > _KEPT:
        most = np.argsort(counts)[-_KEPT:]
        keys, counts = keys[most], counts[most]
    return _Look(target, None, keys, counts, solid, coloured, read.lossy, read.palette, name=name)


def _histogram(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        return np.flatnonzero(counts), counts[counts > 0]
    flat = values.ravel()  # long runs of one value: to sort the runs is quicker than to sort the pixels
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.concatenate([starts, [flat.size]]))
    keys, inverse = np.unique(flat[starts], return_inverse=True)
    return keys.astype(np.int64), np.bincount(inverse, weights=lengths).astype(np.int64)


def _solid(values: NDArray[Any]) -> NDArray[np.int64]:
    """The values that fill a square of 3 × 3 pixels somewhere."""
    if min(values.shape) < 3:
        return np.unique(values).astype(np.int64)
    middle = values[:, 1:-1]
    row = (middle == values[:, :-2]) & (middle == values[:, 2:])
    core = middle[1:-1]
    same = row[:-2] & row[1:-1] & row[2:] & (core == middle[:-2]) & (core == middle[2:])
    return np.unique(core[same]).astype(np.int64)


def _merged(looks: Sequence[_Look]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """All keys of the looks, sorted, how many pixels each has, and whether it is solid in one of them."""
    keys, inverse = np.unique(np.concatenate([look.keys for look in looks]), return_inverse=True)
    counts = np.bincount(inverse, weights=np.concatenate([look.counts for look in looks])).astype(np.int64)
    return keys, counts, np.isin(keys, np.concatenate([look.solid for look in looks]))


def _examples(pairs: Pairs, sight: _Sight, labels: tuple[str, ...], code: MaskCode) -> Examples:
    """The pairs as examples, with the pixels that each label has in each mask."""
    targets = [look.target for look in sight.looks]
    moved: list[int] = []
    if pairs.kind != "single":
        moved = _moved(pairs, labels, code)
        targets = [_placed(target, moved) for target in targets]
    amounts = [_amounts(look, len(labels), code, pairs, moved) for look in sight.looks]
    inputs = [pairs.images[place] for place in sight.places]
    return Examples(inputs, targets, labels, sight.unreadable, amounts)


def _amounts(look: _Look, labels: int, code: MaskCode, pairs: Pairs, moved: list[int]) -> list[int]:
    if pairs.kind == "single":
        pixels = unpack(look.keys) if look.coloured else look.keys
        places = code.places(Mask(look.name, pixels[None], look.palette, look.lossy))[0]
    else:
        places = np.array([*moved, *[IGNORED] * (256 - len(moved))], np.uint8)[look.keys]
    sums = np.bincount(places, weights=look.counts, minlength=256)
    return [int(number) for number in sums[:labels]]


# ---------------------------------------------------------------------------------------------------------------------
# Several files or regions for each image


def _stacked_code(parts: list[Pairs], key: Key | None, wishes: Any) -> tuple[tuple[str, ...], MaskCode]:
    """Labels and code where files or regions are named after labels; the background is what they leave."""
    kind = parts[0].kind
    assert kind != "single"
    found = dict.fromkeys(label for pairs in parts for label in pairs.labels)
    _, _, ignored = wishes or ([], [], [])
    for name in ignored:
        if name not in found:
            raise OptionError(f"ignore: there is no label {printable(name)!r}{did_you_mean(name, found)}")
    own = [label for label in found if label not in ignored and not is_background(label)]
    ground = next((label for label in found if is_background(label)), "background")
    names = (ground, *own)
    colours: tuple[Colour, ...] = ()
    if key is not None:
        if wrong := [name for name in key.names if name not in (*names, *ignored)]:
            raise OptionError(f"{key.source}: there is no label {printable(wrong[0])!r}{did_you_mean(wrong[0], names)}")
        if lost := [name for name in own if name not in key.names]:
            raise DataError(
                f"the masks have labels that {key.source} does not name: {listed(lost)}; add them or ignore them"
            )
        names = tuple(dict.fromkeys((ground, *(name for name in key.names if name not in ignored))))
        table = dict(zip(key.names, key.colours, strict=False))
        colours = tuple(table[name] for name in names if name in table)
    return names, MaskCode(kind, colours=label_colours(names, colours), ignore_labels=tuple(ignored))


def _moved(pairs: Pairs, labels: tuple[str, ...], code: MaskCode) -> list[int]:
    """The model's place for each of the pairs' labels."""
    moved = []
    for label in pairs.labels:
        if label in code.ignore_labels:
            moved.append(IGNORED)
        elif label in labels:
            moved.append(labels.index(label))
        elif is_background(label) and is_background(labels[0]):
            moved.append(0)
        else:
            raise DataError(
                f"{pairs.where} has the label {printable(label)}, which training did not know"
                f"{did_you_mean(label, labels)} (labels: {listed(labels, 12)})"
            )
    return moved


def _placed(target: Any, moved: list[int]) -> Any:
    if isinstance(target, Turned):
        return Turned(_placed(target.mask, moved), target.orientation)
    if isinstance(target, Regions):
        regions = (
            region if region.place == IGNORED else Region(moved[region.place], region.outlines, region.runs)
            for region in target.regions
        )
        return replace(target, regions=tuple(regions))
    return tuple((moved[place], path) for place, path in target)


# ---------------------------------------------------------------------------------------------------------------------
# One file for each image: what its values or colours mean


def _found_code(looks: list[_Look], key: Key | None, wishes: Any, notes: list[str]) -> tuple[tuple[str, ...], MaskCode]:
    """Labels and code from what all masks together hold."""
    _settle_palettes(looks, key)
    if any(look.coloured for look in looks):
        return _colour_code(looks, key, wishes, notes)
    return _value_code(looks, key, wishes, notes)


def _settle_palettes(looks: list[_Look], key: Key | None) -> None:
    """Make all looks alike: all in colours, or all in values where colours are shades of grey."""
    in_use: dict[int, Colour] = {}
    for look in looks:
        shown = {value: look.palette[value] for value in look.keys.tolist() if 0 <= value < len(look.palette)}
        conflict = any(in_use.setdefault(value, colour) != colour for value, colour in shown.items())
        if look.palette and (conflict or (key and key.colours and {*shown.values()} <= {*key.colours})):
            break
    else:
        if not any(look.coloured and not _grey(look) for look in looks):
            for look in looks:
                if look.coloured:
                    look.keys, look.solid, look.coloured = look.keys & 255, look.solid & 255, False
            return
    for look in looks:
        if not look.coloured:
            table = np.array([pack(np.array(colour)) for colour in look.palette], np.int64)
            if not look.palette and (look.keys.min() < 0 or look.keys.max() > 255):
                raise DataError(f"{look.name} holds the value {look.keys.max()}, but the other masks are in colours")
            look.keys, look.solid = (
                table[keys] if look.palette else keys.astype(np.int64) * 0x010101 for keys in (look.keys, look.solid)
            )
            look.coloured, look.palette = True, ()


def _grey(look: _Look) -> bool:
    return bool((look.keys == (look.keys & 255) * 0x010101).all())


# -- values -----------------------------------------------------------------------------------------------------------


def _value_code(looks: list[_Look], key: Key | None, wishes: Any, notes: list[str]) -> tuple[tuple[str, ...], MaskCode]:
    keys, counts, solid = _merged(looks)
    if _blurred(looks, keys, counts, solid, notes):
        names: tuple[str, ...] = key.names if key and len(key.names) == 2 else ("background", "foreground")
        if key and key.given and len(key.names) != 2:
            raise DataError(f"{key.source} names {len(key.names)} labels, but the masks hold two values, 0 and 255")
        return names, MaskCode("values", (0, 255), label_colours(names, key.colours if key else ()), threshold=128)
    ignored, ignored_names = _ignored_values(keys.tolist(), key, wishes, notes)
    found = [value for value in keys.tolist() if value not in ignored]
    if not found:
        raise DataError(f"all pixels of all masks hold {listed(map(str, ignored))}, which is to be ignored")
    pairs = _named_values(found, looks, key, notes)
    pairs = {name: value for name, value in pairs.items() if value not in ignored}
    for name in ignored_names:
        if name not in pairs:
            raise OptionError(f"ignore: there is no label {printable(name)!r}{did_you_mean(name, pairs)}")
        ignored.append(pairs.pop(name))
    names, values = tuple(pairs), tuple(pairs.values())
    table = {}
    if key and key.colours:
        table = dict(zip(key.names, key.colours, strict=True))
    elif palettes := [look.palette for look in looks if look.palette]:
        longest = max(palettes, key=len)
        table = {name: longest[value] for name, value in pairs.items() if value < len(longest)}
    colours = label_colours(names, [table[name] for name in names if name in table])
    return names, MaskCode("values", values, colours, tuple(ignored))


def _blurred(
    looks: list[_Look], keys: NDArray[Any], counts: NDArray[Any], solid: NDArray[Any], notes: list[str]
) -> bool:
    """Whether masks of 0 and 255 hold values between, from a lossy format or from smooth edges."""
    if len(keys) < 3 or keys[0] < 0 or keys[-1] > 255:
        return False
    total = counts.sum()
    lossy = any(look.lossy and len(look.keys) > 2 for look in looks)
    near = counts[(keys < 48) | (keys >= 208)].sum() / total
    between = (keys >= 32) & (keys < 224)
    edges = between.any() and not (between & solid).any() and (counts[between] < _RARE * total).all()
    other = (keys != 0) & (keys != 255)
    high = keys[-1] >= 208
    if lossy and not (near >= 0.9 and high):
        names = [look.name for look in looks if look.lossy and len(look.keys) > 2]
        raise DataError(
            f"{counted(len(names), 'mask')} in JPEG files, which change the values that stand for labels: "
            f"{listed(names)}; save masks as PNG"
        )
    if not lossy and not (edges and near >= 0.7 and {0, 255} <= {*keys.tolist()}):
        return False
    changed = [look for look in looks if ((look.keys != 0) & (look.keys != 255)).any()]
    pixels = int(counts[other].sum())
    notes.append(
        f"{counted(len(changed), 'mask')} with values between 0 and 255 "
        f"({counted(pixels, 'pixel')}, from {'JPEG' if lossy else 'smooth edges'}): those from 128 on are taken as 255"
    )
    return True


def _ignored_values(found: list[int], key: Key | None, wishes: Any, notes: list[str]) -> tuple[list[int], list[str]]:
    """The values that do not count, and the names of labels that do not; 255 beside indices by itself."""
    if wishes is not None:
        values, colours, names = wishes
        if colours and len(values) != 3:
            raise OptionError(f"ignore: the masks hold values, not colours; give a value, not {colours[0]}")
        if absent := [value for value in values if value not in found]:
            notes.append(f"no mask holds the value {listed(map(str, absent))} that is to be ignored")
        return list(values), list(names)
    rest = [value for value in found if value != 255]
    indices = rest and (rest[-1] < 32 or 2 * len(rest) > rest[-1]) and rest[0] >= 0
    named = bool(key and key.values and 255 in key.values)
    if 255 in found and len(rest) >= 2 and indices and rest[-1] != 254 and not named:
        notes.append("pixels with the value 255 do not count; give ignore=[] if 255 is a label")
        return [255], []
    return [], []


def _named_values(found: list[int], looks: list[_Look], key: Key | None, notes: list[str]) -> dict[str, int]:
    """A value for each label's name."""
    if key is not None:
        values = key.values or _declared_values(found, key)
        beyond = [value for value in found if value not in (values or range(len(key.names)))]
        if not beyond:
            if not key.given:
                notes.append(f"labels from {key.source}: {listed(key.names, 6)}")
            return dict(zip(key.names, values, strict=True))
        bad = [look for look in looks if np.isin(look.keys, beyond).any()]
        values = values or tuple(range(len(key.names)))
        raise DataError(
            f"{counted(len(bad), 'mask')} with values that no label has: "
            f"{listed(map(str, beyond), 6)} in {listed([look.name for look in bad])}; {key.source} "
            f"{'names' if key.source == 'labels' else 'gives'} {len(key.names)} labels for the values "
            f"{listed(map(str, values), 6)}; name them, too, or list them in ignore"
        )
    if len(found) > MOST_LABELS or (len(found) > 200 and found[-1] < 256):
        raise DataError(
            f"the masks hold {len(found):,} different values ({found[0]} to {found[-1]}), more than labels could be; "
            f"expected one value for each label (are these pictures, or numbers of single objects?)"
        )
    if len(found) == 1:
        raise DataError(
            f"every pixel of {counted(len(looks), 'mask')} has the value {found[0]}; two labels or more are needed"
        )
    if len(found) == 2:
        return dict(zip(("background", "foreground"), found, strict=True))
    return {f"class_{value}": value for value in found}


def _declared_values(found: list[int], key: Key) -> tuple[int, ...]:
    """The values of named labels: their places, or the values that masks hold if they are as many and no places."""
    number = len(key.names)
    if all(0 <= value < number for value in found):
        return tuple(range(number))
    run, spaced = found[-1] - found[0] + 1 == number, found[-1] >= 2 * number
    if len(found) == number and (run or spaced):
        return tuple(found)
    greys = [colour[0] for colour in key.colours if len(set(colour)) == 1]
    if len(greys) == number and {*found} <= {*greys}:
        return tuple(greys)
    return ()


# -- colours ----------------------------------------------------------------------------------------------------------


def _colour_code(
    looks: list[_Look], key: Key | None, wishes: Any, notes: list[str]
) -> tuple[tuple[str, ...], MaskCode]:
    values, colours, ignored_names = wishes or ([], [], [])
    ignored = list(dict.fromkeys([*colours, *((value,) * 3 for value in values if len(values) != 3)]))
    if key and key.colours:
        table = dict(zip(key.names, key.colours, strict=True))
        if not key.given:
            notes.append(f"labels and colours from {key.source}: {listed(table, 6)}")
    else:
        table = _named_colours(_main_colours(looks, ignored), key, notes)
    for name in ignored_names:
        if name not in table:
            raise OptionError(f"ignore: there is no label {printable(name)!r}{did_you_mean(name, table)}")
        ignored.append(table.pop(name))
    table = {name: colour for name, colour in table.items() if colour not in ignored}
    if len(table) < 2:
        raise DataError(f"the masks hold one colour that counts, {listed(map(str, table.values()))}; two are needed")
    code = MaskCode("colours", colours=tuple(table.values()), ignore_colours=tuple(ignored))
    _check_colours(looks, code, key if key and key.colours else None, notes)
    return tuple(table), code


def _main_colours(looks: list[_Look], ignored: list[Colour]) -> list[Colour]:
    """The colours that are labels, by red, green and blue: those that fill areas, not those of edges between them."""
    keys, counts, solid = _merged(looks)
    main = keys[solid | (counts >= _RARE * counts.sum())]
    if any(look.lossy for look in looks):
        order = main[np.argsort(-counts[np.isin(keys, main)], kind="stable")]
        kept: list[int] = []
        for colour in order.tolist():
            if not kept or nearest(np.array([colour]), np.array(kept))[1][0] > _SHIFT:
                kept.append(colour)
            if len(kept) > 4 * _MOST_COLOURS:
                break
        main = np.sort(np.array(kept, np.int64))
    found = [_colour(number) for number in main.tolist()]
    found = [colour for colour in found if colour not in ignored]
    if len(found) > _MOST_COLOURS or not len(main):
        raise DataError(
            f"the masks hold {len(keys):,} colours, more than labels could be; expected at most {_MOST_COLOURS} that "
            f"fill areas (are images and masks swapped? otherwise give a table of names and colours in colours)"
        )
    return found


def _colour(packed: int) -> Colour:
    return packed >> 16, packed >> 8 & 255, packed & 255


def _named_colours(found: list[Colour], key: Key | None, notes: list[str]) -> dict[str, Colour]:
    if key and len(key.names) == len(found):
        shown = ", ".join(f"{printable(name)} {colour}" for name, colour in zip(key.names[:6], found, strict=False))
        notes.append(f"{key.source} and colours go together in the order of red, green and blue: {shown}")
        return dict(zip(key.names, found, strict=True))
    if key and key.given:
        raise DataError(
            f"{key.source} names {counted(len(key.names), 'label')}, but the masks hold {len(found)} colours: "
            f"{listed(map(str, found), 6)}; say in colours which is which"
        )
    if key:
        notes.append(
            f"{key.source} names {len(key.names)} labels, but the masks hold {len(found)} colours; it is not used"
        )
    if len(found) == 2:
        return dict(zip(("background", "foreground"), found, strict=True))
    return {f"class_{place}": colour for place, colour in enumerate(found)}


def _check_colours(looks: list[_Look], code: MaskCode, key: Key | None, notes: list[str]) -> None:
    """Count the colours that no label has; refuse those that fill areas, and are more than a lossy format's error."""
    for look in looks:
        if not look.coloured:
            _settle_palettes([look, _Look(keys=np.array([1 << 16]), coloured=True)], None)
    known = pack(np.array([*code.colours, *code.ignore_colours]))
    keys, counts, solid = _merged(looks)
    stray = ~np.isin(keys, known)
    if not stray.any():
        return
    far = nearest(keys, known)[1] > (_SHIFT if any(look.lossy for look in looks) else 0)
    wrong = keys[stray & far & (solid | (counts >= _RARE * counts.sum()))]
    if len(wrong):
        bad = [look.name for look in looks if np.isin(look.keys, wrong).any()]
        raise DataError(
            f"{counted(len(bad), 'mask')} with colours that no label has: "
            f"{listed([str(_colour(colour)) for colour in wrong.tolist()])} in {listed(bad)}; "
            f"{f'add them to {key.source}' if key else f'labels have {listed(map(str, code.colours), 6)}'}, or list "
            f"them in ignore"
        )
    changed = [look for look in looks if np.isin(look.keys, keys[stray]).any()]
    most = keys[stray][np.argsort(-counts[stray], kind="stable")].tolist()
    pixels = int(counts[stray].sum())
    notes.append(
        f"{counted(pixels, 'pixel')} of {counted(len(changed), 'mask')} ({pixels / counts.sum():.2%} of all) "
        f"with a colour that no label has, taken for the nearest label's: "
        f"{listed([str(_colour(colour)) for colour in most])}"
    )


# ---------------------------------------------------------------------------------------------------------------------
# What the labels have


def _check_amounts(found: dict[str, Examples], names: tuple[str, ...], notes: list[str]) -> None:
    """Refuse masks with one label, and say what is missing or empty."""
    rows = [row for examples in found.values() for row in examples.amounts or ()]
    sums = np.array(rows).sum(0)
    if np.count_nonzero(sums) < 2:
        there = listed([name for name, number in zip(names, sums, strict=True) if number]) or "no label"
        raise DataError(f"every pixel of {counted(len(rows), 'mask')} has {there}; two labels or more are needed")
    train = np.array(found["train"].amounts).reshape(-1, len(names))
    if absent := [name for name, number in zip(names, train.sum(0), strict=True) if not number]:
        notes.append(f"no mask for training holds {listed(absent, 6)}; the model cannot learn it")
    empty = int((train[:, 1:].sum(1) == 0).sum())
    if 2 * empty > len(train):
        notes.append(f"{empty:,} of {counted(len(train), 'mask')} for training hold {printable(names[0])} alone")


def _check_counting(splits: Splits, given: bool) -> None:
    """Refuse splits without a pixel that counts: they would teach nothing, or tell no epoch from another."""
    for part, examples in (("training", splits.train), ("validation", splits.val)):
        if not np.any(examples.amounts):
            way = "give others" if given or part == "training" else "give images for it with val=FOLDER (--val FOLDER)"
            raise DataError(
                f"not one pixel counts in the {counted(len(examples), 'mask')} for {part}, all are to be ignored; "
                f"{way}, or ignore less"
            )
