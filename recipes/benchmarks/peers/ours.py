"""The task by `exrep_hf`: a preset, and the settings that all tools get."""

from plumbing import Stopwatch, Task, hand_in

# user code
from transformers import AutoModelForImageClassification

from exrep_hf import DistillationArguments, DistillationTrainer, ExRepForImageClassification
from exrep_hf.data import load_images

# end of user code

task, watch = Task.given(), Stopwatch()

# user code
student = ExRepForImageClassification.from_backbone(task.student)
args = DistillationArguments.from_preset(
    task.method,
    output_dir=task.output,
    seed=task.seed,
    max_steps=task.steps,
    learning_rate=0.01,
    save_strategy="no",
)
images = load_images(task.images, split="train")
trainer = DistillationTrainer(student, task.teacher, args, images, classes="position")
# end of user code
with watch.running():
    # user code
    trainer.train()
    # end of user code
# user code
trainer.save_model()
plain = AutoModelForImageClassification.from_pretrained(task.output)
# end of user code

hand_in(task, plain, "exrep_hf", watch)
