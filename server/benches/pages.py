#!/usr/bin/env python3
"""How long the pages take over a database of a million cases (`make bench-pages`; the database is made by
`cargo bench -p store --bench database`).

Starts the server on the database, asks for every page and list once, then each at least --times times, all in random order,
from one client and from several at once, each on a connection that it keeps. The time is that from sending a request to having
the last byte of the answer, compressed as for a browser, on this machine: the server's own time, the client's and the kernel's
in between. Fails where the 99th percentile of a page is above --limit."""

import argparse
import http.client
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import time
import urllib.parse

# Answers that are whole exports or pictures: told, not held to the limit.
APART = "apart: "


class Client:
    """A connection that is kept."""

    def __init__(self, address):
        self.address = address
        self.connection = http.client.HTTPConnection(address, timeout=120)

    def get(self, path, plain=False):
        headers = {} if plain else {"Accept-Encoding": "gzip, deflate, br"}
        self.connection.request("GET", path, headers=headers)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit(f"{path} answered {answer.status}: {body[:300]!r}")
        return body

    def json(self, path, **query):
        return json.loads(self.get(with_query(path, query), plain=True))


def with_query(path, query):
    query = urllib.parse.urlencode(query, doseq=True)
    return f"{path}?{query}" if query else path


def everything(client, draw):
    """The addresses of each page: its name, and the addresses that are asked in its name."""
    lines = client.json("/api/v1/case-lines", limit=1)
    facets = lines["facets"]
    values = {facet: [value["value"] for value in of if value["cases"] > 0] for facet, of in facets.items()}
    some = {facet: draw.sample(of, min(len(of), 4)) for facet, of in values.items()}
    runs, page = [], 0
    while not page or len(found) == 200:
        page += 1
        found = client.json("/api/v1/runs", page=page, per_page=200)["items"]
        runs += found
    large = [run for run in runs if run["cases_done"] >= 5000]
    usual = [run for run in runs if 100 <= run["cases_done"] <= 2500]
    grid = lambda run: run["run"]["name"].split(" #")[0]
    of_grid = {}
    for run in large + usual:
        of_grid.setdefault(grid(run), []).append(run["run"]["id"])
    pairs = lambda runs: [ids[:2] for name, ids in of_grid.items() if len(ids) > 1 and any(grid(r) == name for r in runs)]
    nightly = next(run["run"]["id"] for run in runs if grid(run) == "nightly")
    often = [case["id"] for case in client.json(f"/api/v1/runs/{nightly}/cases")]
    history = client.json(f"/api/v1/cases/{often[0]}/history", limit=200)
    cases = [line["id"] for line in client.json("/api/v1/case-lines", limit=100, order="peak")["items"]]
    trained = [line["id"] for line in client.json("/api/v1/case-lines", limit=20, task="training", status="ok")["items"]]
    jobs = [job["id"] for job in client.json("/api/v1/jobs")["items"]]
    orders = ["finished", "decode", "prefill", "ttft", "peak", "error"]
    middle = {}
    for order in orders:
        line = client.json("/api/v1/case-lines", limit=1000, order=order)
        middle[order] = line["next"]
    # Far along: the place of a figure that a part of the cases is beyond.
    figures = {"finished": [1_772_000_000_000, 1_790_000_000_000], "decode": [10, 400], "prefill": [1000, 20000],
               "ttft": [5, 50, 400], "peak": [2e9, 2e10], "error": [0.005, 0.015]}
    machine = draw.choice(values["machine"])
    ids = lambda runs: [run["run"]["id"] for run in draw.sample(runs, min(len(runs), 8))]
    pages = {
        "home": ["/"],
        "runs": ["/runs", "/runs?page=2", "/runs?page=5"],
        "runs, filtered": [with_query("/runs", {"model": model}) for model in ["llama", "Qwen", "smol"]]
        + ["/runs?precision=fp8", "/runs?machine=node-03", "/runs?status=cancelled"],
        "a run of 10,000 cases": [f"/runs/{run}" for run in ids(large)],
        "a run of 10,000 cases, further": [f"/runs/{run}?from={draw.randrange(9000)}" for run in ids(large)],
        "a run": [f"/runs/{run}" for run in ids(usual)],
        "cases": ["/cases"],
        "cases by order": [with_query("/cases", {"order": order, **way}) for order in orders
                           for way in ({}, {"direction": "ascending"})],
        "cases, far along": [with_query("/cases", {"order": order, way: f"{figure}_0"}) for order in orders
                             for figure in figures[order] for way in ("after", "before")],
        "cases by text": ["/cases?q=llama", "/cases?q=qwen3", "/cases?q=e", "/cases?q=b&order=decode", "/cases?q=none+of+them"],
        "cases by time": ["/cases?since=2026-03-01&until=2026-04-01", "/cases?since=2026-06-01&order=peak"],
        "cases by several": [
            with_query("/cases", {"model": some["model"][:2], "precision": some["precision"][:2], "order": "decode"}),
            with_query("/cases", {"status": "ok", "batch": some["batch"][:3], "device": some["device"][:2]}),
            with_query("/cases", {"status": ["out-of-memory", "predicted-out-of-memory"], "order": "peak"}),
            with_query("/cases", {"task": "training", "method": "lora", "q": "l", "since": "2026-02-01"}),
            with_query("/cases", {"run": large[0]["run"]["id"], "order": "ttft"}),
        ],
        "cases with all columns": ["/cases?columns=how,training,precision,variant,attention,cache,kv_cache,engine,batch,"
                                   "tokens,decode,prefill,ttft,peak,estimated,error,status,where,machine,device,when"],
        "a case": [f"/cases/{case}" for case in draw.sample(cases, 10) + trained[:5]],
        f"a case with {len(history['results'])}+ results": [f"/cases/{case}" for case in often[:8]],
        "its older results": [f"/cases/{often[0]}?before={urllib.parse.quote(history['next'])}"],
        "compare two runs": [f"/compare?a={a}&b={b}" for a, b in pairs(usual)[:10]],
        "compare two runs of 10,000": [f"/compare?a={a}&b={b}" for a, b in pairs(large)],
        "compare by an axis": [f"/compare?by={axis}" for axis in
                               ["model", "precision", "attention", "variant", "cache", "kv_cache", "machine", "commit"]]
        + [with_query("/compare", {"by": "attention", "model": model}) for model in some["model"]],
        "jobs": ["/jobs", "/jobs?page=2"],
        "a job": [f"/jobs/{job}" for job in jobs[:10]],
        "answers": ["/answers"] + ["/answers/" + question for question in
                                   ["can-i-run", "vram-per-billion", "quantize", "flash-attention", "fine-tune-or-lora"]],
        "answers for others": [f"/answers/{question}?model={model}&gpu={gpu}"
                               for question in ["can-i-run", "vram-per-billion", "quantize", "flash-attention",
                                                "fine-tune-or-lora"]
                               for model, gpu in [("Qwen/Qwen3-8B", "rtx-3060-12gb"), ("meta-llama/Llama-3.1-70B", "rtx-4090-24gb"),
                                                  ("mistralai/Mixtral-8x7B-Instruct-v0.1", "h100-sxm-80gb")]],
        "planner": ["/planner", "/planner?model=meta-llama/Llama-3.1-8B&gpu=h100-sxm-80gb"],
        "docs": ["/docs", "/docs/measuring", "/docs/planning"],
        "api: case lines": ["/api/v1/case-lines", "/api/v1/case-lines?order=decode"]
        + [with_query("/api/v1/case-lines", {"model": model}) for model in some["model"]],
        "api: case lines, CSV of 1,000": ["/api/v1/case-lines.csv", "/api/v1/case-lines.csv?order=peak"],
        "api: cases": ["/api/v1/cases", "/api/v1/cases?model=llama&status=ok", "/api/v1/cases?page=500",
                       f"/api/v1/cases?run={large[0]['run']['id']}&precision={large[0]['run']['sweep']['precisions'][0]}"],
        "api: runs": ["/api/v1/runs", "/api/v1/runs?model=llama", "/api/v1/runs?page=3&per_page=200"],
        "api: a case": [f"/api/v1/cases/{case}" for case in cases[:20]],
        "api: history": [f"/api/v1/cases/{case}/history" for case in often[:8]],
        "api: jobs, machines, runners": ["/api/v1/jobs", "/api/v1/machines", "/api/v1/runners"],
        APART + "api: compare, whole": [f"/api/v1/compare?a={a}&b={b}" for a, b in pairs(usual)[:10]],
        "api: models, GPUs, presets": ["/api/v1/models", "/api/v1/gpus", "/api/v1/presets"],
        APART + "compare two runs of 10,000, CSV": [f"/api/v1/compare.csv?a={a}&b={b}" for a, b in pairs(large)],
        APART + "a run of 10,000 cases whole, JSON": [f"/api/v1/runs/{large[0]['run']['id']}"],
    }
    for facet, of in some.items():
        pages[f"cases by {facet}"] = [with_query("/cases", {facet: value, "order": order}) for value in of
                                      for order in ("finished", "decode")]
    plots = ["speed", "memory", "components", "pareto", "heat", "residual", "load-line"]
    filters = [{}, {"model": some["model"][0]}, {"machine": machine}, {"precision": some["precision"][:2]}, {"status": "ok"}]
    for plot in plots:
        pages[f"plot: {plot}"] = [with_query("/plots", {"plot": plot, **filter}) for filter in filters]
        for kind in ("svg", "png"):
            pages[f"{APART}plot: {plot}, {kind}"] = [with_query(f"/api/v1/plots/{plot}.{kind}", filter) for filter in filters[:2]]
    pages["plot: residual of training"] = ["/plots?plot=residual&task=training&series=method"]
    return pages


def ask(address, asked, found):
    times = None
    try:
        client = Client(address)
        taken = []
        for name, path in asked:
            began = time.perf_counter()
            client.get(path)
            taken.append((name, (time.perf_counter() - began) * 1e3))
        times = taken
    finally:
        # None where a page did not answer, which was said.
        found.put(times)


def measure(address, pages, times, clients, draw):
    asked = [(name, draw.choice(paths)) for name, paths in pages.items()
             for _ in range(20 if name.startswith(APART) else times)]
    draw.shuffle(asked)
    found = multiprocessing.Queue()
    workers = [multiprocessing.Process(target=ask, args=(address, asked[n::clients], found)) for n in range(clients)]
    for worker in workers:
        worker.start()
    taken = {}
    for _ in workers:
        times = found.get()
        if times is None:
            sys.exit("not every page answered")
        for name, ms in times:
            taken.setdefault(name, []).append(ms)
    for worker in workers:
        worker.join()
    return taken


def quantile(sorted_times, q):
    """The smallest that so many of them do not exceed."""
    return sorted_times[min(len(sorted_times) - 1, max(0, -(-int(q * 1000) * len(sorted_times) // 1000) - 1))]


def memory(process):
    with open(f"/proc/{process.pid}/status", encoding="utf-8") as status:
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) / 1024


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--server", required=True, help="the server's program, built with --release")
    options.add_argument("--db", required=True, help="the database")
    options.add_argument("--times", type=int, default=200, help="requests of each page (default 200)")
    options.add_argument("--clients", default="1,8", help="clients at once, one number a round (default 1,8)")
    options.add_argument("--limit", type=float, default=50, help="most milliseconds of the 99th percentile (default 50)")
    options.add_argument("--cases", type=int, default=0, help="fail where the database has fewer")
    options.add_argument("--only", default="", help="only pages with this in their names")
    options = options.parse_args()
    draw = random.Random(1)

    began = time.monotonic()
    server = subprocess.Popen([options.server, "--listen", "127.0.0.1:0", "--db", options.db],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, "RUST_LOG": "warn"})
    try:
        line = server.stdout.readline().decode()
        address = line.strip().rsplit("/", 1)[-1]
        if not line.startswith("listening"):
            sys.exit("the server did not start")
        listening, before = time.monotonic() - began, memory(server)
        client = Client(address)
        total = client.json("/api/v1/case-lines", limit=1)["total"]
        read = time.monotonic() - began
        if total < options.cases:
            sys.exit(f"{options.db} has {total:,} cases, not {options.cases:,}: remove it, and it is made anew")
        after = memory(server)
        print(f"{total:,} cases. Listening after {listening:.1f} s, all lines read after {read:.1f} s; "
              f"memory {before:.0f} MiB before and {after:.0f} MiB after, {(after - before) * 2**20 / total:.0f} bytes a case")
        pages = {name: paths for name, paths in everything(client, draw).items() if options.only in name}
        began = time.monotonic()
        cold = {name: max(timed(client, path) for path in paths) for name, paths in pages.items()}
        print(f"every address asked once in {time.monotonic() - began:.1f} s")
        slow = set()
        for clients in map(int, options.clients.split(",")):
            load = os.getloadavg()[0]
            taken = measure(address, pages, options.times, clients, draw)
            print(f"\n{clients} client{'s'[:clients > 1]}, load {load:.1f} before, {os.getloadavg()[0]:.1f} after, "
                  f"{os.cpu_count()} cores")
            print(f"{'':42} {'n':>5} {'p50':>8} {'p99':>8} {'max':>8}   first")
            for name, times in sorted(taken.items(), key=lambda page: (page[0].startswith(APART), page[0])):
                times.sort()
                p99 = quantile(times, 0.99)
                over = p99 > options.limit and not name.startswith(APART)
                if over:
                    slow.add(name)
                print(f"{name:42} {len(times):5} {quantile(times, 0.5):8.1f} {p99:8.1f} {times[-1]:8.1f} "
                      f"{cold[name]:7.0f}{'  above the limit' if over else ''}")
        print(f"\nmemory {memory(server):.0f} MiB after all of it")
    finally:
        server.terminate()
        server.wait()
    if slow:
        sys.exit(f"above {options.limit:g} ms in 99 of 100: {', '.join(sorted(slow))}")
    print(f"each page within {options.limit:g} ms in 99 of 100")


def timed(client, path):
    began = time.perf_counter()
    client.get(path)
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    main()
