"""One small task by this package and by the tools that a user could take in its place, side by side.

    python recipes/benchmarks/peers.py                            # all rows, three seeds: hours on a CPU core
    python recipes/benchmarks/peers.py --only ours timm --seeds 42
    python recipes/benchmarks/peers.py --collect_only             # the table of what was measured before

Fashion-MNIST (`--data_dir`): 500 public images, the published teacher, the small student after 300 steps with
labels, 1 500 steps of 128 images. Of a seed all tools get the same image files and the same starting weights, and the
weights that they hand back are judged by one piece of code of ours. Each tool is a script in `peers/`, as its user
would write it, and has an environment of its own under `--work_dir`, made when it is first needed (by uv where it is
there, by pip where not). Crops, AdamW with a learning rate of 0.01, cosine schedule and warm-up are the same; all else
is what the tool's documentation shows.

What is finished is not run again: each run's record lies in `--results_dir`, also of a tool that could not do the
task, with what it said (delete the record to try again). Accuracy is top-1 on the 10 000 test images; images a second
are those of the whole training, data and all: by the clock, which says something only where nothing else runs beside
it, and by the seconds that the process had on CPU cores, which say nothing of work on a GPU. Lines of user code are
counted between marks in the scripts, without what measures.
"""

import argparse
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peer_environments import PEERS, Peer, environment, last_words
from peer_task import Settings, TaskOfSeed, accuracy_of, load_data

from exrep_hf.command_line import run_command
from exrep_hf.data.partition import DataPartition
from exrep_hf.evaluation import mean_and_deviation
from exrep_hf.files import read_json, write_json
from exrep_hf.report import public_name, software_versions
from exrep_hf.report.table import percent

RECIPES = Path(__file__).resolve().parents[1]
SCRIPTS = Path(__file__).resolve().with_suffix("")
BATCH = 128
START, END = "# user code", "# end of user code"


def user_lines(script: Path, method: str) -> int:
    """Count the lines of a script that a user of the tool would write.

    Args:
        script: with lines `# user code` or `# user code: METHOD`, each followed by a line `# end of user code`.
        method: whose lines count, beside those of no method.

    Returns:
        How many lines between them are neither empty nor a comment.

    Raises:
        ValueError: if a mark has no partner, or none is there for the method.
    """
    count, counts, inside = 0, False, False
    for number, line in enumerate(script.read_text(encoding="utf-8").splitlines(), 1):
        text = line.strip()
        is_start = text == START or text.startswith(f"{START}: ")
        if is_start or text == END:
            if is_start == inside:
                raise ValueError(f"{script.name}, line {number}: {text!r} has no partner; expected marks in pairs.")
            inside, counts = is_start, is_start and text in (START, f"{START}: {method}")
        elif counts and text and not text.startswith("#"):
            count += 1
    if inside or not count:
        raise ValueError(f"{script.name} has {count} lines of user code for {method!r}; expected some, between marks.")
    return count


def run(peer: Peer, method: str, task: TaskOfSeed, data: DataPartition, args: argparse.Namespace) -> dict[str, Any]:
    """Let a tool do the task by one of its methods, and judge its student.

    Returns:
        The record: accuracy in [0, 1], and seconds and images a second of the training, by the clock and of CPU time;
        or `said`: why there is none.

    Raises:
        ValueError: if the tool's process was ended from outside.
    """
    script = SCRIPTS / peer.script
    record = {"peer": peer.name, "method": method, "seed": task.seed}
    record["task"] = args.settings.as_dict()
    python, said = environment(peer, args.envs_dir, args.python)
    if python is None:
        return record | {"said": f"not installed: {said}"}
    output = args.work_dir / "runs" / f"{peer.name}-{method}-{task.seed}"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    given = {"method": method, "seed": task.seed, "steps": args.settings.steps, "output": str(output)}
    given |= {"images": str(task.images), "teacher": str(task.teacher), "student": str(task.student)}
    # On one thread a figure does not depend on how many cores are free.
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "LIGHTLY_TRAIN_EVENTS_DISABLED": "1"}
    own["PYTHONPATH"] = str(RECIPES.parent) if peer.is_ours else ""
    with open(output / "log.txt", "w", encoding="utf-8") as log:
        command = [str(python), str(script), json.dumps(given)]
        done = subprocess.run(command, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT, cwd=output)
    if done.returncode < 0:
        raise ValueError(f"{script.name} ({method}) was ended by signal {-done.returncode}; run it again.")
    if done.returncode:
        return record | {"said": last_words((output / "log.txt").read_text(encoding="utf-8", errors="replace"))}
    facts = read_json(output / "facts.json")
    images = args.settings.steps * BATCH
    record |= facts | {"images_per_second": images / facts["seconds"]}
    record["images_per_cpu_second"] = images / facts["cpu_seconds"]
    return record | {"accuracy": accuracy_of(task.student, output / "weights.safetensors", data)}


def summary(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each tool and method, in the order of `PEERS`: figures over seeds, or what the tool said."""
    rows = []
    order = [("start", ""), *((peer.name, method) for peer in PEERS.values() for method in peer.methods)]
    for name, method in order:
        runs = [record for record in records if (record["peer"], record["method"]) == (name, method)]
        finished = [record for record in runs if "accuracy" in record]
        row: dict[str, Any] = {"peer": name, "method": method, "seeds": [record["seed"] for record in finished]}
        row["what"] = PEERS[name].methods[method] if method else "student before"
        for figure in ("accuracy", "images_per_second", "images_per_cpu_second"):
            row[figure] = mean_and_deviation([record.get(figure) for record in finished])
        row["accuracies"] = [record["accuracy"] for record in finished]
        row["lines"] = user_lines(SCRIPTS / PEERS[name].script, method) if method else None
        row["version"] = next((record["version"] for record in finished if "version" in record), None)
        row["said"] = next((record["said"] for record in runs if "said" in record), None)
        rows.append(row)
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table in Markdown."""
    heads = ("tool", "method", "top-1 %", "seeds", "images/s", "images/CPU s", "lines")
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for row in rows:
        name = " ".join(filter(None, [row["peer"], row["version"]]))
        without = "not run" if row["said"] is None else f"said: {row['said']}"
        shown = percent(row["accuracy"]) if row["seeds"] else without
        speeds = [row[figure] for figure in ("images_per_second", "images_per_cpu_second")]
        speeds = ["–" if speed is None else f"{speed['mean']:.0f}" for speed in speeds]
        cells = (name, row["what"], shown, len(row["seeds"]) or "–", *speeds, row["lines"] or "–")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read what to run."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--only", nargs="+", metavar="TOOL", help=f"Tools, or TOOL:METHOD, of {', '.join(PEERS)}.")
    flags.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44])
    flags.add_argument("--data_dir", default="/usr/share/datasets/fashion-mnist", help="Folder of its IDX files.")
    flags.add_argument("--teacher", type=Path, default=RECIPES.parent / "model_cards" / "fashion_mnist_teacher")
    flags.add_argument("--student", type=Path, default=RECIPES / "fashion_mnist" / "small")
    flags.add_argument("--python", help="Interpreter for all tools, in place of their own environments.")
    flags.add_argument("--smoke", action="store_true", help="A few steps and images: to see that it runs.")
    flags.add_argument("--collect_only", action="store_true", help="Run nothing.")
    flags.add_argument("--work_dir", type=Path, default=Path("out/peers"), help="Environments, images, logs.")
    flags.add_argument("--results_dir", type=Path, help="Records; in recipes/results/peers where not given.")
    args = flags.parse_args(argv)
    args.settings = Settings(public_name(str(args.teacher)), public_name(str(args.student)), smoke=args.smoke)
    args.envs_dir = args.work_dir.absolute() / "envs"
    args.work_dir = (args.work_dir / "smoke" if args.smoke else args.work_dir).absolute()
    args.results_dir = args.results_dir or (args.work_dir / "records" if args.smoke else RECIPES / "results" / "peers")
    args.wanted = wanted(args.only)
    return args


def wanted(only: Sequence[str] | None) -> list[tuple[Peer, str]]:
    """Return tools and methods that were asked for.

    Raises:
        ValueError: if one isn't there.
    """
    every = [(peer, method) for peer in PEERS.values() for method in peer.methods]
    names = [name for peer, method in every for name in (peer.name, f"{peer.name}:{method}")]
    if unknown := sorted(set(only or ()) - set(names)):
        raise ValueError(f"`--only` names {unknown}; expected some of {list(dict.fromkeys(names))}.")
    return [each for each in every if not only or {each[0].name, f"{each[0].name}:{each[1]}"} & set(only)]


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is not finished, write what all finished runs say after each, and print it."""
    args = parse(argv)
    if not args.collect_only:
        data: DataPartition | None = None
        for seed in args.seeds:
            todo = [(peer, method) for peer, method in args.wanted if not is_finished(peer.name, method, seed, args)]
            if not todo:
                continue
            data = data or load_data(args.data_dir, args.settings)
            task = TaskOfSeed.prepared(seed, args.teacher, args.student, data, args.work_dir, args.settings)
            if not is_finished("start", "", seed, args):
                start = accuracy_of(task.student, task.student / "model.safetensors", data)
                told = {"peer": "start", "method": "", "seed": seed, "task": args.settings.as_dict()}
                write_json(told | {"accuracy": start}, path_of("start", "", seed, args))
            for peer, method in todo:
                record = run(peer, method, task, data, args)
                write_json(record, path_of(peer.name, method, seed, args))
                shown = record.get("said") or f"{100 * record['accuracy']:.1f}, {record['seconds']:.0f} s"
                print(f"{peer.name} {method}, seed {seed}: {shown}", flush=True)
                collect(args)
    print(f"\n{table(collect(args))}")


def path_of(name: str, method: str, seed: int, args: argparse.Namespace) -> Path:
    """Return where a run's record lies."""
    found: Path = args.results_dir / f"{'-'.join(filter(None, [name, method, str(seed)]))}.json"
    return found


def is_finished(name: str, method: str, seed: int, args: argparse.Namespace) -> bool:
    """Return whether a run's record is there.

    Raises:
        ValueError: if it is one of another task.
    """
    path = path_of(name, method, seed, args)
    if not path.is_file():
        return False
    if (found := read_json(path)["task"]) != args.settings.as_dict():
        raise ValueError(
            f"{path.name} is a record of the task {found}; this is {args.settings.as_dict()}. Give another "
            "`--results_dir`."
        )
    return True


def collect(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Put together what all finished runs say, write it beside their folder, and return the rows.

    Raises:
        ValueError: if none is finished.
    """
    records = [read_json(path) for path in sorted(args.results_dir.glob("*.json"))]
    if not records:
        raise ValueError(f"{args.results_dir} has no record yet; run without `--collect_only` first.")
    rows = summary(records)
    content = {"task": records[0]["task"], "rows": rows, "versions": software_versions()}
    write_json(content, args.results_dir.with_suffix(".json"))
    return rows


if __name__ == "__main__":
    run_command(main)
