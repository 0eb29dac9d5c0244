#!/usr/bin/env python3
"""Plimsoll's decoder, Candle's stock model and llama.cpp on the same GGUF file, on one processor.

The engines take turns, each in a process of its own, on the same number of threads; the table gives the median over all
turns, the lowest and highest, and the ratio to llama.cpp's median. llama.cpp comes from PyPI (llama-cpp-python, built from
source on this machine: minutes, once). Q8_0 and bf16 files are made of the Q4_1 file by llama.cpp itself
(llama_model_quantize): their weights mean what the Q4_1 file's mean, as near as the type gets.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ["llama-cpp-python==0.3.36", "numpy"]
CACHE = Path.home() / ".cache" / "plimsoll"


def python_with_llama(folder):
    """The Python of a virtual environment with llama.cpp in it, made if it is not there."""
    python = folder / "bin" / "python"
    if python.exists() and subprocess.run([python, "-c", "import llama_cpp"], capture_output=True).returncode == 0:
        return python
    print(f"installing {' '.join(PACKAGES)} into {folder}: llama.cpp is compiled, which takes minutes", file=sys.stderr)
    venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def llama(python, arguments, environment=None):
    command = [python, HERE / "llama_cpp_speed.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode != 0:
        raise SystemExit(f"llama.cpp ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def run_llama(python, model, args):
    sizes = ["--prompt", args.prompt, "--generate", args.generate, "--threads", args.threads]
    return json.loads(llama(python, ["--model", model, *sizes, "--repetitions", args.repetitions]))


def run_candle(model, variant, attention, args):
    """One case of bench-runner: a warm-up and the repetitions in a process of its own."""
    command = [args.bench_runner, "run", "--model", model, "--variant", variant, "--prompt", args.prompt]
    command += ["--generate", args.generate, "--threads", args.threads, "--repetitions", args.repetitions]
    command += ["--no-db", "--json", "--quiet"] + (["--attention", attention] if attention else [])
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"bench-runner ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    case = json.loads(done.stdout)["cases"][0]
    if not case.get("measurement"):
        raise SystemExit(f"{variant}: {case.get('error')}")
    measured = case["measurement"]
    samples = measured["samples"]
    return {
        "engine": case["engine"],
        "prefill": [1e3 * args.prompt / sample["ttft_ms"] for sample in samples],
        "decode": [1e3 * len(sample["token_ms"]) / sum(sample["token_ms"]) for sample in samples],
        "peak_bytes": max(phase["peak_allocated"] for phase in measured["phases"]),
    }


def spread(values, digits=0):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(kind, turns):
    reference = turns["llama.cpp"]
    for name, results in turns.items():
        cells = [kind, name]
        for figure in ("prefill", "decode"):
            values = [value for result in results for value in result[figure]]
            theirs = [value for result in reference for value in result[figure]]
            ratio = statistics.median(values) / statistics.median(theirs)
            cells += [spread(values), f"{ratio:.2f}"]
        cells.append(f"{max(result['peak_bytes'] for result in results) / 2**20:.0f}")
        print("| " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = os.environ.get("CARGO_TARGET_DIR", str(HERE.parent.parent / "target"))
    parser.add_argument("--bench-runner", type=Path, default=Path(target) / "release" / "bench-runner")
    parser.add_argument("--model", type=Path, default=CACHE / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf")
    parser.add_argument("--venv", type=Path, default=CACHE / "llama-cpp")
    parser.add_argument("--types", default="q4_1,q8_0,bf16", help="of q4_1 (the file itself), q8_0, bf16")
    parser.add_argument("--attention", default="eager", help="of Plimsoll's decoder; the stock model has its own")
    parser.add_argument("--without-stock", action="store_true", help="leave Candle's stock model out")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each engine")
    parser.add_argument("--repetitions", type=int, default=1, help="of a turn, after its warm-up")
    args = parser.parse_args()
    for file in (args.model, args.bench_runner):
        if not file.exists():
            raise SystemExit(f"{file}: not there (make model, cargo build --release -p bench-runner)")
    python = python_with_llama(args.venv)
    best = json.loads(llama(python, ["--machine"], {"OPENBLAS_NUM_THREADS": str(args.threads)}))
    print(f"this processor at its best (OpenBLAS): {best['gflops']:.0f} GFLOP/s, reads {best['gb_per_s']:.1f} GB/s")
    with tempfile.TemporaryDirectory() as folder:
        print(f"{args.threads} threads, prompt {args.prompt}, generated {args.generate}, {args.rounds} rounds;", end=" ")
        print("tokens/s: median (lowest–highest), ratio to llama.cpp's median; peak in MiB beyond the empty process")
        print("| type | engine | prefill | ratio | decode | ratio | peak |\n|---|---|--:|--:|--:|--:|--:|", flush=True)
        for kind in args.types.split(","):
            model = args.model
            if kind != "q4_1":
                model = Path(folder) / f"{args.model.stem.rsplit('.', 1)[0]}.{kind}.gguf"
                llama(python, ["--model", args.model, "--requantise", kind, model])
            engines = {
                f"plimsoll {args.attention}": lambda: run_candle(model, "plimsoll", args.attention, args),
                "stock": lambda: run_candle(model, "stock", None, args),
                "llama.cpp": lambda: run_llama(python, model, args),
            }
            if args.without_stock:
                del engines["stock"]
            turns = {name: [] for name in engines}
            for _ in range(args.rounds):
                for name, turn in engines.items():
                    turns[name].append(turn())
            table(kind, turns)
            names = {result["engine"] for results in turns.values() for result in results}
            print(f"<!-- {kind}: {'; '.join(sorted(names))} -->", flush=True)
            if model != args.model:
                model.unlink()


if __name__ == "__main__":
    main()
