"""Run fairlearn in its own environment: metrics of the same rows, and its remedies on the same split. Reads an .npz, prints JSON.

python _fairlearn_peer.py metrics|remedies FILE.npz
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def metrics(data) -> dict:
    from fairlearn import metrics as f
    from sklearn.metrics import accuracy_score, brier_score_loss, precision_score, roc_auc_score

    y, p, groups = data["y"], data["p"], data["group"]
    decided = (p >= 0.5).astype(int)
    begin = time.process_time()
    frame = f.MetricFrame(
        metrics={
            "selection_rate": f.selection_rate, "true_positive_rate": f.true_positive_rate, "false_positive_rate": f.false_positive_rate,
            "accuracy": accuracy_score, "ppv": lambda a, b: precision_score(a, b, zero_division=0),
        },
        y_true=y, y_pred=decided, sensitive_features=groups,
    )  # fmt: skip
    scores = f.MetricFrame(metrics={"auroc": roc_auc_score, "brier": brier_score_loss}, y_true=y, y_pred=p, sensitive_features=groups)
    found = {
        "by_group": {n: frame.by_group[n].to_dict() for n in frame.by_group} | {n: scores.by_group[n].to_dict() for n in scores.by_group},
        "demographic_parity_difference": f.demographic_parity_difference(y, decided, sensitive_features=groups),
        "demographic_parity_ratio": f.demographic_parity_ratio(y, decided, sensitive_features=groups),
        "equalized_odds_difference": f.equalized_odds_difference(y, decided, sensitive_features=groups),
    }
    return found | {"seconds": time.process_time() - begin}


def remedies(data) -> dict:
    import warnings

    warnings.filterwarnings("ignore")
    import torch
    from fairlearn.adversarial import AdversarialFairnessClassifier
    from sklearn.linear_model import LogisticRegression

    x, y, group, learn, show = data["x"], data["y"].astype(int), data["group"], data["learn"], data["show"]
    torch.set_num_threads(1)
    out = {}
    w = data["weights"]
    for name, weights in (("logistic", None), ("reweighing", w)):
        begin = time.process_time()
        model = LogisticRegression(C=1.0, tol=1e-8, max_iter=1000).fit(x[learn], y[learn], sample_weight=weights)
        out[name] = {"p": model.predict_proba(x[show])[:, 1].tolist(), "seconds": time.process_time() - begin}
    warm = AdversarialFairnessClassifier(backend="torch", predictor_model=[16, torch.nn.Tanh()], adversary_model=[], epochs=1)
    warm.fit(x[learn].astype(np.float32), y[learn], sensitive_features=group[learn])  # what is loaded at the first fit is not timed
    for goal, constraint in (("equalised odds", "equalized_odds"), ("demographic parity", "demographic_parity")):
        begin = time.process_time()
        model = AdversarialFairnessClassifier(
            backend="torch", predictor_model=[16, torch.nn.Tanh()], adversary_model=[], constraints=constraint, alpha=1.0, learning_rate=0.005, epochs=60,
            batch_size=256, random_state=int(data["seed"]),
        )  # fmt: skip
        model.fit(x[learn].astype(np.float32), y[learn], sensitive_features=group[learn])
        raw = np.asarray(model.predict(x[show].astype(np.float32)), float).ravel()  # 0 or 1: decided at one half
        out[f"adversarial, {goal}"] = {"p": raw.tolist(), "seconds": time.process_time() - begin}
    return out


if __name__ == "__main__":
    with np.load(sys.argv[2], allow_pickle=False) as held:
        print(json.dumps({"metrics": metrics, "remedies": remedies}[sys.argv[1]](held), default=float))
