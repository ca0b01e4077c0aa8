"""Teacher and student side by side in a browser: what each says of an image, and the images on which they differ.

pip install -e '.[app]'
python recipes/examples/app.py --student out/digits --teacher out/digits/teacher --images my_images/
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
from PIL import Image
from transformers import pipeline

from exrep_hf.models import load_whole

SHOWN = 24


def make_app(student: str, teacher: str, images: str) -> gr.Blocks:
    """Return the app.

    Args:
        student: name on the Hub, or folder.
        teacher: the same, of a classifier.
        images: folder of images, of any depth.

    Raises:
        ValueError: if one of them has no classifier.
    """
    # `pipeline` by name would give a network without a classifier a random one, and show its answers.
    networks = {
        name: pipeline("image-classification", load_whole(name), image_processor=name, top_k=5)
        for name in (student, teacher)
    }

    def answers(image: Image.Image) -> list[dict[str, float]]:
        return [{each["label"]: each["score"] for each in networks[name](image)} for name in (student, teacher)]

    def differing() -> Iterator[list[tuple[str, str]]]:
        found: list[tuple[str, str]] = []
        readable = Image.registered_extensions()
        for path in sorted(path for path in Path(images).rglob("*") if path.suffix.lower() in readable):
            of_student, of_teacher = (next(iter(each)) for each in answers(Image.open(path).convert("RGB")))
            if of_student != of_teacher and len(found) < SHOWN:
                found.append((str(path), f"student: {of_student}, teacher: {of_teacher}"))
                yield found

    with gr.Blocks(title="Teacher and student") as app:
        image = gr.Image(type="pil")
        with gr.Row():
            labels = [gr.Label(label=f"student: {student}"), gr.Label(label=f"teacher: {teacher}")]
        image.change(answers, image, labels)
        gr.Button("Where they differ").click(differing, None, gr.Gallery(label="Where they differ"))
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("student", "teacher", "images"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    make_app(given.student, given.teacher, given.images).launch(allowed_paths=[given.images])
