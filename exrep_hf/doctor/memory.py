"""Whether weights, their moments and CRD's bank fit into the memory of the device."""

from collections.abc import Iterator

import psutil
import torch

from exrep_hf.doctor.finding import Finding
from exrep_hf.doctor.patient import Patient
from exrep_hf.doctor.sizes import bytes_in_words

# A weight, its gradient, and Adam's two moments of it, in float32.
_BYTES_A_WEIGHT = 16
_WORTH_TELLING = 2**30


def check_memory(patient: Patient, capacity: int | None = None) -> Iterator[Finding]:
    """Add up what stays on the device throughout; activations, which come on top, are not known.

    Args:
        patient: the run.
        capacity: bytes of the device's memory; asked for where not given.
    """
    trainer = patient.trainer
    objective, teacher = trainer.distillation_objective, trainer.teacher
    learning = sum(weight.numel() for weight in objective.parameters() if weight.requires_grad) * _BYTES_A_WEIGHT
    networks = () if teacher is None else teacher.networks()
    asked = sum(weight.numel() * weight.element_size() for each in networks for weight in each.parameters())
    bank = bank_bytes(patient)
    needed, device = learning + asked + bank, trainer.args.device
    if capacity is None:
        on_gpu = device.type == "cuda"
        capacity = torch.cuda.get_device_properties(device).total_memory if on_gpu else psutil.virtual_memory().total
    told = f"on {device}: {bytes_in_words(needed)} of {bytes_in_words(capacity)} before activations"
    told += f", {bytes_in_words(bank)} of it CRD's bank" * bool(bank)
    if needed > capacity:
        remedy = "Give `--queue_length 65536`, or `--crd_table_dtype bfloat16`." if bank > needed / 2 else ""
        yield Finding("waste", told, remedy or "Take a smaller student or teacher (`--teacher_dtype bfloat16`).")
    elif needed > _WORTH_TELLING:
        yield Finding("fine", told)


def bank_bytes(patient: Patient) -> int:
    """Return the size of CRD's bank, or queue; 0 where there is none."""
    crd = patient.trainer.distillation_objective.crd
    tensors = () if crd is None else (*crd.bank_state().values(), crd.negatives.labels)
    return sum(each.numel() * each.element_size() for each in tensors)
