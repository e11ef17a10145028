"""From a configuration to the transforms of its backbone: the one place that knows all backbones by name."""

from __future__ import annotations

from clc.model.config import ModelConfig
from clc.model.transforms.depthconv import DepthConvAnalysis, DepthConvHyperAnalysis, DepthConvSynthesis
from clc.model.transforms.interface import Transforms
from clc.model.transforms.residual_prediction import RefinedSynthesis
from clc.model.transforms.tcm import TcmAnalysis, TcmHyperAnalysis, TcmSynthesis


def make_transforms(config: ModelConfig) -> Transforms:
    """g_a, g_s and h_a with fresh weights, by `backbone` and `residual_prediction` of the configuration."""
    latents, narrow, conditioning = config.latents, config.narrow, config.conditioning
    if config.backbone == "tcm":
        transforms = Transforms(
            TcmAnalysis(latents, narrow),
            TcmSynthesis(latents, narrow, conditioning),
            TcmHyperAnalysis(latents, config.hyper_width, config.hyper),
        )
    else:
        blocks = config.narrow_blocks, config.wide_blocks
        transforms = Transforms(
            DepthConvAnalysis(latents, narrow, config.wide, blocks),
            DepthConvSynthesis(latents, narrow, config.wide, conditioning, blocks),
            DepthConvHyperAnalysis(latents, config.hyper_width, config.hyper),
        )
    if config.residual_prediction:
        transforms = transforms._replace(g_s=RefinedSynthesis(transforms.g_s, latents, conditioning))
    return transforms
