"""svZeroDSolver in an environment of its own, for coronary_flow.py.

    PEER_PYTHON benchmarks/_svzerod_peer.py cases IN.json OUT.json            one simulate() per case: last pressure_out of each vessel
    PEER_PYTHON benchmarks/_svzerod_peer.py waves CASE.json OUT.json          one simulate(): flow_out and pressure_out of each vessel over time
    PEER_PYTHON benchmarks/_svzerod_peer.py draws CASE.json IN.npz OUT.json   one Solver, kept: new block values and run() for each draw

Counts its own CPU-seconds, imports and the first construction of the Solver apart.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import svzerod


def cases(source: str, sink: str) -> None:
    answers = []
    begin = time.process_time()
    for case in json.loads(Path(source).read_text()):
        try:
            last = svzerod.simulate(case).groupby("name").last()
            answers.append({n: float(r.pressure_out) for n, r in last.iterrows()})
        except Exception as error:  # a peer that refuses is counted, not hidden
            answers.append({"error": repr(error)[:200]})
    Path(sink).write_text(json.dumps({"answers": answers, "cpu": time.process_time() - begin}))


def waves(case: str, sink: str) -> None:
    frame = svzerod.simulate(json.loads(Path(case).read_text()))
    Path(sink).write_text(json.dumps({n: [g.flow_out.tolist(), g.pressure_out.tolist()] for n, g in frame.groupby("name")}))


def draws(case: str, source: str, sink: str) -> None:
    given = np.load(source)
    solver = svzerod.Solver(json.loads(Path(case).read_text()))
    vessels, outlets, reads = list(given["vessels"]), list(given["outlets"]), list(given["reads"])
    r, s, conductor, inlet, found = given["resistance"], given["quadratic"], given["outlet_resistance"], given["inlet"], []
    pd = given["distal"]
    begin, wall = time.process_time(), time.perf_counter()
    for k in range(len(r)):
        for j, name in enumerate(vessels):
            solver.update_block_params(name, [r[k, j], 0.0, 0.0, s[k, j]])
        for j, name in enumerate(outlets):
            solver.update_block_params(name, [conductor[k, j], pd[k]])
        solver.update_block_params("IN", [inlet[k]])
        solver.run()
        found.append([float(solver.get_single_result(name)[-1]) for name in reads])
    took = {"cpu": time.process_time() - begin, "wall": time.perf_counter() - wall, "pressure": found}
    Path(sink).write_text(json.dumps(took))


if __name__ == "__main__":
    {"cases": cases, "draws": draws, "waves": waves}[sys.argv[1]](*sys.argv[2:])
