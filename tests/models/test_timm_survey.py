"""Features of one small model of every class and kind of head in timm. Minutes; run with `-m slow`."""

from typing import Any

import pytest
import timm
import torch

from tests.models.feature_checks import build, check_evaluation, check_training

NAMES = """
    bat_resnext26ts halonet_h1 beit_base_patch16_224 caformer_s18 cait_xxs24_224 coat_lite_tiny coat_tiny coatnet_0_224
    coatnet_bn_0_rw_224 convit_tiny convmixer_768_32 convnext_atto_rms convnext_large_mlp convnext_tiny_hnf
    convnext_zepto_rms cpubone_nano crossvit_tiny_240 cs3darknet_focus_s csatv2 cspnext_tiny davit_tiny
    deit_tiny_distilled_patch16_224 densenet121 dla46x_c dpn48b edgenext_xx_small efficientformer_l1
    efficientformerv2_s0 efficientvim_m1 efficientvim_m1_dist efficientvit_b0 efficientvit_l1 efficientvit_m0
    ese_vovnet19b_slim_dw eva02_tiny_patch14_224 fasternet_t0 fastvit_t8 focalnet_tiny_srf gcvit_xxtiny
    gemma4_vit_167m ghostnet_050 gmlp_ti16_224 hardcorenas_a hgnetv2_b0 hiera_tiny_224 hrnet_w18_small
    iformer_m_distilled iformer_t inception_next_atto inception_resnet_v2 inception_v3 inception_v4 lcnet_035
    lcnetv2_small legacy_seresnet18 legacy_xception levit_128s levit_256d lowformer_b0 mambaout_femto
    mobilenetv1_100 mobilenetv4_conv_small_035 mobilenetv4_hybrid_large_075 mobilenetv5_base mobilevitv2_050
    mvitv2_small_cls mvitv2_tiny naflexvit_base_patch16_parfac_gap naflexvit_base_patch16_radio_v3
    naflexvit_base_patch16_siglip nasnetalarge nest_tiny nextvit_small pit_ti_224 pit_ti_distilled_224 pnasnet5large
    poolformerv2_s12 pvt_v2_b0 qwen3_vit_88m rdnet_tiny regnetx_002 repghostnet_050 repvit_m1 res2net50_14w_8s
    resmlp_12_224 resnest14d resnet50_clip resnet50_mlp resnetaa34d resnetblur18 resnetrs50 resnetv2_18
    resnetv2_50d_evos resnetv2_50d_frn resnetv2_50x1_bit rexnet_100 sam2_hiera_tiny samvit_base_patch16_224
    selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs swin_tiny_patch4_window7_224
    swinv2_cr_tiny_224 swinv2_tiny_window16_256 test_byobnet test_coatnet test_convnext test_efficientnet
    test_mambaout test_nfnet test_resnet test_vit test_vit2 test_vit3 test_vit4 test_vit_relpos tiny_vit_5m_224
    tnt_s_legacy_patch16_224 tresnet_m twins_svt_small vgg11 visformer_tiny vit_base_patch16_radio_v3
    vit_base_patch16_sapiens2 vit_base_patch16_xp_224 vit_medium_patch16_gap_240 vit_pe_core_tiny_patch16_384
    vit_pe_spatial_tiny_patch16_512 vit_relpos_medium_patch16_cls_224 vit_small_patch16_lingbot
    vit_srelpos_small_patch16_224 vit_tiny_patch16_dinov3_qkvb vit_tiny_r_s16_p8_224 vit_xsmall_patch16_clip_224
    vitamin_small_224 volo_d1_224 xception41p xcit_nano_12_p8_224
""".split()
# Its smallest has 412 million parameters, and the head of qwen3_vit's.
TOO_LARGE = "deepseek_vit"
pytestmark = pytest.mark.slow


def smallest(name: str) -> tuple[int, dict[str, int]]:
    """The smallest side of an image, of a few, that a model can be built for and takes; and how it is built for it."""
    cfg: Any = timm.get_pretrained_cfg(name)
    for size in (64, 96, 128):
        options = {"img_size": size} if cfg.fixed_input_size else {}
        try:
            with torch.no_grad():
                build(name, **options).eval()(torch.zeros(1, 3, size, size))
        except (TypeError, AssertionError, RuntimeError, ValueError, ZeroDivisionError, KeyError):
            continue
        return size, options
    return cfg.input_size[-1], {}


@pytest.mark.parametrize("name", NAMES)
def test_features_are_what_the_model_itself_pools(name: str) -> None:
    """Features from the wrong layer, or of one head of two, have a plausible shape and teach something else."""
    size, options = smallest(name)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    check_evaluation(build(name, **options), images)
    # VGG has a dropout in the hidden layer that makes its features.
    if not name.startswith("vgg"):
        check_training(name, images, **options)


def test_every_module_of_timm_is_surveyed() -> None:
    """A new family of a new timm must not be read unseen."""
    missing = [module for module in timm.list_modules() if not set(timm.list_models(module=module)) & set(NAMES)]
    assert missing == [TOO_LARGE]
