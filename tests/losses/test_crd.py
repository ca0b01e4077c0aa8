"""CRD against the authors' implementation, a slow plain version, and its promises to the training step."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from exrep_hf.losses import CRDLoss

GOLDEN = Path(__file__).parents[1] / "golden" / "crd_small.safetensors"


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _small(**changes: Any) -> CRDLoss:
    options: dict[str, Any] = {"num_samples": 20, "embedding_dim": 8, "num_negatives": 6} | changes
    return CRDLoss(5, 7, **options)


def _batch(batch: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(batch, 5), torch.randn(batch, 7), torch.randperm(20)[:batch]


def _close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_reproduces_the_reference() -> None:
    """Three steps of the authors' code: losses, gradients, Z and tables pin every sign, constant and order."""
    golden = load_file(GOLDEN)
    with safe_open(GOLDEN, "pt") as file:
        settings = file.metadata()
    loss = CRDLoss(
        student_dim=golden["embed_student.weight"].shape[1],
        teacher_dim=golden["embed_teacher.weight"].shape[1],
        num_samples=int(settings["n_data"]),
        embedding_dim=golden["embed_student.bias"].shape[0],
        num_negatives=int(settings["negatives"]),
        temperature=float(settings["temperature"]),
        momentum=float(settings["momentum"]),
    )
    for side, linear in (("student", loss.student_embedding), ("teacher", loss.teacher_embedding)):
        linear.load_state_dict({name: golden[f"embed_{side}.{name}"] for name in ("weight", "bias")})
        getattr(loss.bank, side).copy_(golden[f"bank_{side}.initial"])
    for step in range(3):
        expected = {name.removeprefix(f"step{step}."): t for name, t in golden.items() if f"step{step}." in name}
        features = expected["student_features"].clone().requires_grad_()
        loss.zero_grad()
        value = loss(
            features,
            expected["teacher_features"],
            expected["sample_index"],
            negative_index=expected["negative_index"],
        )
        value.backward()
        assert features.grad is not None
        assert loss.student_embedding.weight.grad is not None and loss.teacher_embedding.weight.grad is not None
        torch.testing.assert_close(value, expected["loss"], rtol=1e-5, atol=0)
        _close(features.grad, expected["grad.student_features"])
        _close(loss.student_embedding.weight.grad, expected["grad.embed_student.weight"])
        _close(loss.teacher_embedding.weight.grad, expected["grad.embed_teacher.weight"])
        for side in ("student", "teacher"):
            _close(getattr(loss, f"normalizer_{side}"), expected[f"normalizer_{side}"])
            _close(getattr(loss.bank, side), expected[f"bank_{side}"])


def _slow_loss(
    loss: CRDLoss, student: Tensor, teacher: Tensor, positives: tuple[Tensor, Tensor], drawn: Tensor
) -> Tensor:
    """Both sides in float64 and plain autograd, Z from this batch; positives are (teacher's, student's) rows."""
    v_s, v_t = (
        F.normalize(loss.student_embedding(student).double()),
        F.normalize(loss.teacher_embedding(teacher).double()),
    )
    total = torch.zeros((), dtype=torch.float64)
    for vector, positive, table in ((v_s, positives[0], loss.bank.teacher), (v_t, positives[1], loss.bank.student)):
        rows = torch.cat([positive.double().unsqueeze(1), table.double()[drawn]], dim=1)
        exponential = torch.exp((rows * vector.unsqueeze(1)).sum(2) / loss.temperature)
        out = exponential / (exponential.mean() * loss.num_samples).detach()
        noise = drawn.shape[1] / loss.num_samples
        attract = torch.log(out[:, 0] / (out[:, 0] + noise))
        repel = torch.log(noise / (out[:, 1:] + noise)).sum(1)
        total = total - (attract + repel).mean()
    return total


@pytest.mark.parametrize("training", [True, False])
def test_equals_plain_autograd(training: bool) -> None:
    """The hand-written gradient through both embeddings, in training and with the evaluation's positives."""
    loss = _small().train(training)
    student, teacher, rows = _batch()
    student.requires_grad_()
    drawn = torch.randint(20, (4, 50))
    watched = teacher.clone().requires_grad_()
    if training:
        positives = (loss.bank.teacher[rows], loss.bank.student[rows])
    else:
        with torch.no_grad():
            positives = (F.normalize(loss.teacher_embedding(teacher)), F.normalize(loss.student_embedding(student)))
    inputs = [student, *loss.parameters()]
    slow = _slow_loss(loss, student, teacher, positives, drawn)
    expected = torch.autograd.grad(slow, inputs)
    value = loss(student, watched, rows, negative_index=drawn)
    assert torch.autograd.grad(value, watched, retain_graph=True, allow_unused=True) == (None,)
    torch.testing.assert_close(value.double(), slow, rtol=1e-6, atol=1e-6)
    for actual, gradient in zip(torch.autograd.grad(value, inputs), expected, strict=True):
        torch.testing.assert_close(actual, gradient, rtol=1e-4, atol=1e-6)


def test_evaluation_leaves_no_trace() -> None:
    """Evaluation images in the bank would leak the test set into training, and make its order matter."""
    loss = _small().eval()
    before = {name: tensor.clone() for name, tensor in loss.bank_state().items()}
    student, teacher, rows = _batch()
    unset = loss(student, teacher, None)
    assert unset.isfinite()
    loss(student, teacher, torch.tensor([999, -5, 0, 0]), labels=torch.tensor([0, 1, 0, 1]))
    for name, tensor in loss.bank_state().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, equal_nan=True)

    loss.train()(student, teacher, rows)
    normalizer = loss.normalizer_student.clone()
    drawn = torch.randint(20, (4, 6))
    values = {loss.eval()(student * scale, teacher, None, negative_index=drawn).item() for scale in (1.0, 2.0, -1.0)}
    assert len(values) > 1 and torch.equal(loss.normalizer_student, normalizer)


def test_evaluation_positive_is_the_same_image() -> None:
    """Matching student and teacher embeddings must be worth more than opposed ones on images without a row."""
    loss = CRDLoss(8, 8, num_samples=20, embedding_dim=8, num_negatives=6).eval()
    with torch.no_grad():
        for linear in (loss.student_embedding, loss.teacher_embedding):
            linear.weight.copy_(torch.eye(8))
            linear.bias.zero_()
    features, drawn = torch.randn(4, 8), torch.randint(20, (4, 6))
    loss.bank.log_normalizer_student.fill_(8.0)
    loss.bank.log_normalizer_teacher.fill_(8.0)
    equal, opposed = (loss(sign * features, features, None, negative_index=drawn) for sign in (1, -1))
    assert equal + 10 < opposed


def test_negatives_come_from_other_classes() -> None:
    """A negative of the own class teaches that images of one class are different things."""
    loss = _small(num_negatives=300)
    classes = torch.arange(20) % 3
    loss.set_labels(classes)
    student, teacher, rows = _batch()
    drawn: list[Tensor] = []
    draw = loss.negatives.draw
    loss.negatives.draw = lambda *args: drawn.append(draw(*args)) or drawn[-1]  # type: ignore[method-assign,func-returns-value]
    loss(student, teacher, rows)
    loss(student, teacher, rows, labels=classes[rows])
    loss.eval()(student, teacher, None, labels=classes[rows])
    assert len(drawn) == 3
    for index in drawn:
        assert index.shape == (4, 300)
        assert (classes[index] != classes[rows].unsqueeze(1)).all()
        assert all(
            len(line.unique()) == int((classes != label).sum())
            for line, label in zip(index, classes[rows], strict=True)
        )


@pytest.mark.parametrize("temperature", [0.07, 0.01])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_extremes_stay_finite(temperature: float, dtype: torch.dtype) -> None:
    """exp(1 / 0.07) is beyond float16 and exp(1 / 0.01) beyond float32: one inf and the run is lost."""
    loss = _small(temperature=temperature)
    student, teacher, rows = _batch()
    with torch.no_grad():
        v_s, v_t = F.normalize(loss.student_embedding(student)), F.normalize(loss.teacher_embedding(teacher))
    loss.bank.teacher[rows], loss.bank.student[rows] = v_s, -v_t
    low = student.to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype):
        value = loss(low, teacher.to(dtype), rows)
    value.backward()
    assert value.dtype == torch.float32 and value.isfinite()
    assert low.grad is not None and low.grad.isfinite().all() and low.grad.any()
    assert all(tensor.isfinite().all() for tensor in loss.bank_state().values())


def test_autocast_changes_nothing() -> None:
    """Scores in bfloat16 are wrong by a tenth after the division by 0.07."""
    plain, cast = _small(), _small()
    cast.load_state_dict(plain.state_dict())
    student, teacher, rows = _batch()
    drawn = torch.randint(20, (4, 6))
    with torch.autocast("cpu", torch.bfloat16):
        value = cast(student, teacher, rows, negative_index=drawn)
    assert torch.equal(value, plain(student, teacher, rows, negative_index=drawn))
    assert torch.equal(cast.bank.student, plain.bank.student)


def test_half_precision_weights_keep_the_bank_in_float32() -> None:
    """`.bfloat16()` on the whole objective must not round the bank."""
    loss = _small().bfloat16()
    assert loss.bank.student.dtype == loss.bank.log_normalizer_student.dtype == torch.float32
    assert loss(*_batch()).dtype == torch.float32


def test_bfloat16_tables_change_scores_by_little() -> None:
    """Rounding a row moves a similarity by 2⁻⁸ at most, and by a tenth of that as a rule."""
    features = torch.randn(64, 5), torch.randn(64, 7), torch.arange(64)
    options: dict[str, Any] = {"num_samples": 200, "embedding_dim": 128, "num_negatives": 100}
    exact, half = _small(**options), _small(**options, table_dtype=torch.bfloat16)
    half.load_state_dict(exact.state_dict())
    drawn = torch.randint(200, (64, 100))
    for _ in range(3):
        values = [loss(*features, negative_index=drawn) for loss in (exact, half)]
        torch.testing.assert_close(values[1], values[0], rtol=1e-3, atol=0)
    exact_scores, half_scores = (loss.bank.teacher.float() @ exact.bank.student.T for loss in (exact, half))
    difference = (half_scores - exact_scores)[:64]
    assert difference.abs().max() < 2**-8 and 0 < difference.std() < 4e-4
    for table in (half.bank.student, half.bank.teacher):
        assert table.dtype == torch.bfloat16
    assert half.double().bank.student.dtype == torch.bfloat16


class _NoWaiting(TorchDispatchMode):
    """Refuses operations that make the host wait for the device."""

    refused = ("_local_scalar_dense", "nonzero", "unique", "is_nonzero", "masked_select", "equal.default")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = str(func)
        self.seen.append(name)
        if any(part in name for part in self.refused):
            raise AssertionError(f"{name} waits for the device")
        if "_to_copy" in name and torch.device((kwargs or {}).get("device") or "cuda").type == "cpu":
            raise AssertionError(f"{name} brings values to the host")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("labels", ["none", "registered", "learned"])
@pytest.mark.filterwarnings("ignore:.*CUDA is not available")
def test_a_step_does_not_wait_for_the_device(labels: str) -> None:
    """One `.item()` a step stalls the accelerator, and only a profiler shows it."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device("cuda"):
            loss = _small()
        if labels == "registered":
            loss.negatives.registered = True
            loss.negatives._sort()
        # Parameters of the fake device can't be moved in place.
        loss.bank.to("cuda")
        loss.negatives.to("cuda")
        student = torch.randn(4, 5, device="cuda", requires_grad=True)
        teacher = torch.randn(4, 7, device="cuda")
        rows = torch.zeros(4, dtype=torch.long, device="cuda")
        with _NoWaiting():
            value = loss(student, teacher, rows, rows if labels == "learned" else None)
            loss.eval()(student, teacher, None, rows)
        assert value.device.type == loss.bank.student.device.type == "cuda"
        # The two guards do fail where something waits.
        with pytest.raises(DataDependentOutputException, match="_local_scalar_dense"):
            bool(rows[0] > 0)
        with pytest.raises(DynamicOutputShapeException, match="nonzero"):
            rows[rows > 0]
        with pytest.raises(AssertionError, match="to the host"), _NoWaiting():
            student.detach().cpu()


def test_backward_does_not_wait_for_the_device() -> None:
    """The backward pass of the fake device can't run without a real one: its operations are watched on the CPU."""
    value = _small()(torch.randn(4, 5, requires_grad=True), torch.randn(4, 7), torch.arange(4))
    with _NoWaiting() as watched:
        value.backward()
        assert watched.seen
        with pytest.raises(AssertionError, match="waits"):
            value.detach().item()


def test_state_restores_bank_and_normalizers() -> None:
    """A resumed run must continue as if it had never stopped."""
    first, resumed = _small(), _small()
    first(*_batch())
    resumed.load_state_dict(first.state_dict())
    resumed.load_bank_state({name: tensor.clone() for name, tensor in first.bank_state().items()})
    student, teacher, rows = _batch()
    drawn = torch.randint(20, (4, 6))
    values = [loss(student, teacher, rows, negative_index=drawn) for loss in (first, resumed)]
    assert torch.equal(*values)
    assert torch.equal(first.bank.teacher, resumed.bank.teacher)
    assert torch.equal(first.normalizer_teacher, resumed.normalizer_teacher)
    with pytest.raises(ValueError, match=r"bank\.student has size \(20, 8\) here, \(21, 8\) in the checkpoint"):
        first.load_bank_state(_small(num_samples=21).bank_state())


def test_state_dict_holds_the_embeddings_alone() -> None:
    """1.3 GB of bank in every published file, or in DDP's broadcast, is paid silently."""
    names = {f"{side}_embedding.{part}" for side in ("student", "teacher") for part in ("weight", "bias")}
    assert set(_small().state_dict()) == names
    assert {name for name, _ in _small().named_parameters()} == names


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_samples": 1}, "num_samples must be ≥ 2, got 1"),
        ({"num_negatives": 0}, "num_negatives must be ≥ 1, got 0"),
        ({"temperature": 0.0}, "temperature must be > 0, got 0.0"),
        ({"temperature": math.nan}, "temperature must be > 0, got nan"),
        ({"momentum": 1.0}, r"momentum must be in \[0, 1\), got 1.0"),
        ({"momentum": -0.1}, r"momentum must be in \[0, 1\), got -0.1"),
        ({"table_dtype": torch.float16}, "table_dtype must be torch.float32 or torch.bfloat16, got torch.float16"),
        (
            {"table_dtype": torch.bfloat16, "momentum": 0.95},
            "momentum must be ≤ 0.9 with .* bfloat16, got 0.95",
        ),
    ],
)
def test_bad_settings(change: dict[str, Any], message: str) -> None:
    """Each of these trains to NaN, or to nothing."""
    with pytest.raises(ValueError, match=message):
        _small(**change)


def test_bad_batches() -> None:
    """Rows of another image are as good as rows of the right one, as far as shapes can tell."""
    loss = _small()
    student, teacher, rows = _batch()
    with pytest.raises(ValueError, match=r"sample_index must be in \[0, 20\), got 20 with num_samples=20"):
        loss(student, teacher, torch.tensor([0, 1, 2, 20]))
    with pytest.raises(ValueError, match="sample_index must be in .*, got -1"):
        loss(student, teacher, torch.tensor([0, 1, 2, -1]))
    with pytest.raises(ValueError, match=r"needs sample_index \(4,\) in training mode, got None"):
        loss(student, teacher, None)
    with pytest.raises(ValueError, match=r"needs sample_index \(4,\) in training mode, got \(3,\)"):
        loss(student, teacher, rows[:3])
    with pytest.raises(ValueError, match=r"negative_index must be in \[0, 20\), got 20"):
        loss(student, teacher, rows, negative_index=torch.full((4, 2), 20))
    with pytest.raises(ValueError, match=r"negative_index must be \(4, K\), got \(3, 2\)"):
        loss(student, teacher, rows, negative_index=torch.zeros(3, 2, dtype=torch.long))
    with pytest.raises(ValueError, match=r"pooled features \(batch, dim\).*\(4, 5\).*\(3, 7\)"):
        loss(student, teacher[:3], rows)
    with pytest.raises(ValueError, match="at least two classes"):
        loss.set_labels(torch.zeros(20, dtype=torch.long))
    assert loss.normalizer_student.isnan()
