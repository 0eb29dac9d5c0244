"""Prefill and decode of llama.cpp, timed as bench-runner times its cases; one JSON object on standard output.

Also makes the files of other types: llama.cpp dequantises a file's tensors and quantises them again.
"""

import argparse
import ctypes
import json
import time

import llama_cpp as llama
import numpy


def resident_peak():
    """Highest resident bytes of this process (VmHWM, proc(5))."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def requantise(source, target, kind):
    params = llama.llama_model_quantize_default_params()
    params.ftype = {"q8_0": llama.LLAMA_FTYPE_MOSTLY_Q8_0, "bf16": llama.LLAMA_FTYPE_MOSTLY_BF16}[kind]
    params.allow_requantize = True
    params.pure = True
    if llama.llama_model_quantize(source.encode(), target.encode(), params) != 0:
        raise SystemExit(f"{target}: llama.cpp could not write it")


def decode(context, batch, tokens, position):
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i] = token
        batch.pos[i] = position + i
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = 0
        batch.logits[i] = i == len(tokens) - 1
    if llama.llama_decode(context, batch) != 0:
        raise SystemExit("llama_decode failed")


def speed(args):
    before = resident_peak()
    params = llama.llama_model_default_params()
    params.use_mmap = False
    params.n_gpu_layers = 0
    model = llama.llama_load_model_from_file(args.model.encode(), params)
    settings = llama.llama_context_default_params()
    settings.n_ctx = args.prompt + args.generate
    settings.n_batch = settings.n_ubatch = args.prompt
    settings.n_threads = settings.n_threads_batch = args.threads
    context = llama.llama_new_context_with_model(model, settings)
    if not model or not context:
        raise SystemExit(f"{args.model}: llama.cpp could not load it")
    vocabulary = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model))
    sampler = llama.llama_sampler_init_greedy()
    batch = llama.llama_batch_init(args.prompt, 0, 1)
    prompt = [(7 * i + 1) % vocabulary for i in range(args.prompt)]
    prefills, decodes = [], []
    # One more than asked: the first warms up.
    for _ in range(args.repetitions + 1):
        llama.llama_memory_clear(llama.llama_get_memory(context), True)
        start = time.perf_counter()
        decode(context, batch, prompt, 0)
        token = llama.llama_sampler_sample(sampler, context, -1)
        prefills.append(args.prompt / (time.perf_counter() - start))
        start = time.perf_counter()
        for i in range(args.generate - 1):
            decode(context, batch, [token], args.prompt + i)
            token = llama.llama_sampler_sample(sampler, context, -1)
        decodes.append((args.generate - 1) / (time.perf_counter() - start))
    version = f"llama.cpp of llama-cpp-python {llama.__version__}"
    return {
        "engine": version,
        "prefill": prefills[1:],
        "decode": decodes[1:],
        "peak_bytes": resident_peak() - before,
        "system": llama.llama_print_system_info().decode(),
    }


def machine():
    """What the processor can do at best: GFLOP/s of a product in single precision, GB/s of reading (OpenBLAS)."""
    square = numpy.ones((1024, 1024), dtype=numpy.float32)
    # Far more than any cache holds.
    long = numpy.ones(1 << 26, dtype=numpy.float32)

    def best(work, amount):
        times = []
        for _ in range(10):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        return amount / min(times) / 1e9

    return {
        "gflops": best(lambda: square @ square, 2 * 1024**3),
        "gb_per_s": best(lambda: numpy.dot(long, long), long.nbytes),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("--machine", action="store_true", help="measure the processor, not a model")
    parser.add_argument("--requantise", nargs=2, metavar=("KIND", "TARGET"))
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=1)
    args = parser.parse_args()
    # What llama.cpp says goes nowhere: standard output is the result's.
    silent = llama.llama_log_callback(lambda level, text, data: None)
    llama.llama_log_set(silent, ctypes.c_void_p(0))
    llama.llama_backend_init()
    if args.machine:
        print(json.dumps(machine()))
    elif args.requantise:
        kind, target = args.requantise
        requantise(args.model, target, kind)
    else:
        print(json.dumps(speed(args)))


if __name__ == "__main__":
    main()
