"""From a configuration to the transforms of its backbone: the one place that knows all backbones by name."""

from __future__ import annotations

from clc.configuration import ModelConfig
from clc.transforms.depthconv import DepthConvAnalysis, DepthConvHyperAnalysis, DepthConvSynthesis
from clc.transforms.interface import Transforms
from clc.transforms.tcm import TcmAnalysis, TcmHyperAnalysis, TcmSynthesis


def make_transforms(config: ModelConfig) -> Transforms:
    """g_a, g_s and h_a with fresh weights, by `config.backbone`."""
    latents, narrow, conditioning = config.latents, config.narrow, config.conditioning
    if config.backbone == "tcm":
        transforms = Transforms(
            TcmAnalysis(latents, narrow),
            TcmSynthesis(latents, narrow, conditioning),
            TcmHyperAnalysis(latents, config.hyper_width, config.hyper),
        )
    else:
        transforms = Transforms(
            DepthConvAnalysis(latents, narrow, config.wide),
            DepthConvSynthesis(latents, narrow, config.wide, conditioning),
            DepthConvHyperAnalysis(latents, config.hyper_width, config.hyper),
        )
    return transforms
