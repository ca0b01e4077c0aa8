"""The largest logits, and the mass of all others at any temperature.

The k largest are kept as they are. Of the others, `log Σ exp(β·logit)` is kept at a few inverse temperatures β; it is
smooth in β, so that a cubic through its neighbours gives it in between. Each of the others is then rebuilt as the same
logit, such that they have their mass together. That mass is exact at the temperatures 1/2, 2/3, 1, 4/3, 2, 8/3, 4 and
8; between them, from 1/2 on, it is within 0.01 (for logits as networks give them, within 0.001). How the others share
it is lost.
"""

import math

import torch
from torch import Tensor

INVERSE_TEMPERATURES = (0.0, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 3 / 4, 1.0, 3 / 2, 2.0)
LOWEST_TEMPERATURE = 1 / INVERSE_TEMPERATURES[-1]


def keep_top_k(logits: Tensor, k: int) -> dict[str, Tensor]:
    """Reduce logits to their k largest.

    Args:
        logits: `(batch, num_labels)`, float32.
        k: below `num_labels`.

    Returns:
        `top_logits` `(batch, k)`, float32; `top_classes` `(batch, k)`, int32; `remainder` `(batch, 8)`, float32: the
        log of the others' mass at each inverse temperature but 0, where it is their number.
    """
    values, classes = logits.topk(k, dim=-1)
    others = logits.scatter(-1, classes, -math.inf)
    mass = torch.stack([(others * beta).logsumexp(-1) for beta in INVERSE_TEMPERATURES[1:]], -1)
    return {"top_logits": values, "top_classes": classes.int(), "remainder": mass}


def rebuild_logits(
    top_logits: Tensor, top_classes: Tensor, remainder: Tensor, num_labels: int, temperature: float
) -> Tensor:
    """Logits `(batch, num_labels)` whose softmax at a temperature is that of the original ones, float32.

    Args:
        top_logits: `(batch, k)`.
        top_classes: `(batch, k)`.
        remainder: `(batch, 8)`, of `keep_top_k`.
        num_labels: number of classes.
        temperature: the one that the logits will be divided by, ≥ 1/2.

    Raises:
        ValueError: for a lower temperature.
    """
    check_temperature(temperature)
    count = num_labels - top_logits.shape[-1]
    knots = torch.cat([torch.full_like(remainder[:, :1], math.log(count)), remainder], -1).double()
    # Numbers and not a tensor, which would have to be copied to the device at each step.
    weights = enumerate(_weights(1 / temperature).tolist())
    mass = torch.stack([weight * knots[:, place] for place, weight in weights if weight]).sum(0)
    other = temperature * (mass - math.log(count))
    logits = other.float()[:, None].repeat(1, num_labels)
    return logits.scatter_(-1, top_classes.long(), top_logits.float())


def check_temperature(temperature: float) -> None:
    """Make sure that logits can be rebuilt for a temperature.

    Raises:
        ValueError: if it is below 1/2.
    """
    if temperature < LOWEST_TEMPERATURE:
        raise ValueError(
            f"`temperature` is {temperature}; answers stored with `top_k` can be rebuilt for temperatures from "
            f"{LOWEST_TEMPERATURE} on. Raise it, or store all logits."
        )


def _weights(beta: float) -> Tensor:
    """Return what each knot counts in the cubic (Lagrange) through the four around β."""
    above = next(place for place, knot in enumerate(INVERSE_TEMPERATURES) if knot >= beta)
    first = min(max(above - 2, 0), len(INVERSE_TEMPERATURES) - 4)
    weights = torch.zeros(len(INVERSE_TEMPERATURES), dtype=torch.float64)
    around = INVERSE_TEMPERATURES[first : first + 4]
    for place, knot in enumerate(around):
        factors = [(beta - other) / (knot - other) for other in around if other != knot]
        weights[first + place] = math.prod(factors)
    return weights
