"""What is shared out among devices: the parts that are gathered one at a time, and what cannot be."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recipes import backbones, sharding
from recipes.backbones import Network
from recipes.errors import OptionError


def named(backbone: str) -> Network:
    return backbones.build(backbone, 3, pretrained=False)[0]


def test_the_blocks_of_a_network_are_gathered_one_at_a_time() -> None:
    network = named("test_vit")
    assert sharding.units(network) == list(network.body.blocks)[::-1]  # type: ignore[arg-type]


def test_inner_blocks_come_before_those_around_them() -> None:
    units = sharding.units(named("test_convnext"))
    for place, unit in enumerate(units):
        assert not any(later is not unit and later in set(unit.modules()) for later in units[place:])
    assert {type(unit).__name__ for unit in units} == {"ConvNeXtBlock", "ConvNeXtStage"}


def test_a_network_without_repeated_blocks_is_one_unit() -> None:
    assert sharding.units(named("test_resnet")) == []


def test_a_weight_that_is_a_single_number_cannot_be_shared_out() -> None:
    network = Network(nn.Linear(2, 2), {"library": "timm", "architecture": "odd"})
    network.body.scale = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(OptionError, match=r"cannot share odd out, because body\.scale is a single number; take ddp"):
        sharding.share_out(network, None)
