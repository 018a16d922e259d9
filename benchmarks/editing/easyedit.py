"""The peer of `peer.py`: EasyEdit (zjunlp/EasyEdit), from a checkout of the user's own, as it is.

Nothing of it is changed; what it would sample or download (contexts, covariances) is put where it keeps them, so that
both sides work with the same. The packages that it imports must be installed.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from setting import BATCH, GRACE, ROME_LAYER, VALUE, WEIGHT, WISE
from toy import CONTEXTS, LAYERS

MODULES = {
    "rewrite_module_tmp": "transformer.h.{}.mlp.c_proj",
    "layer_module_tmp": "transformer.h.{}",
    "mlp_module_tmp": "transformer.h.{}.mlp",
    "attn_module_tmp": "transformer.h.{}.attn",
    "ln_f_module": "transformer.ln_f",
    "lm_head_module": "transformer.wte",
    "stats_dir": "none",
    "mom2_dataset": "none",
    "mom2_n_samples": 1,
    "mom2_dtype": "float32",
    "fact_token": "subject_last",
    "mom2_adjustment": True,
}


class EasyEdit:
    """The four methods as the peer carries them out and scores them."""

    def __init__(self, checkout: Path, folder: Path, moments: Mapping[int, torch.Tensor]) -> None:
        sys.path.insert(0, str(checkout))
        with _quiet():
            self._package = import_module("easyeditor")
        self._folder = folder
        value = {
            "v_num_grad_steps": VALUE["steps"],
            "v_lr": VALUE["lr"],
            "v_loss_layer": LAYERS - 1,
            "v_weight_decay": VALUE["weight_decay"],
            "clamp_norm_factor": VALUE["clamp_norm_factor"],
            "kl_factor": VALUE["kl_factor"],
        }
        batch = {"layers": list(BATCH), "layer_selection": "all", "mom2_update_weight": WEIGHT}
        alpha, beta, gamma = WISE["margins"]
        wise = {k: WISE[k] for k in ("norm_constraint", "mask_ratio", "act_ratio", "save_freq", "merge_freq")}
        self._fields: dict[str, tuple[str, dict[str, Any]]] = {
            "rome": (
                "ROMEHyperParams",
                MODULES | value | {"layers": [ROME_LAYER], "context_template_length_params": [], "alg_name": "ROME"},
            ),
            "memit": ("MEMITHyperParams", MODULES | value | batch | {"alg_name": "MEMIT"}),
            "grace": (
                "GraceHyperParams",
                {
                    "alg_name": "GRACE",
                    "inner_params": [f"transformer.h[{GRACE['layer']}].mlp.c_fc.weight"],
                    **{"edit_lr": GRACE["lr"], "n_iter": GRACE["steps"], "eps": GRACE["epsilon"], "dist_fn": "euc"},
                    **{"val_init": "cold", "val_train": "sgd", "val_reg": "None", "reg": "early_stop"},
                    **{"replacement": "replace_last", "eps_expand": "coverage", "num_pert": 8, "dropout": 0.0},
                },
            ),
            "wise": (
                "WISEHyperParams",
                {
                    "alg_name": "WISE",
                    "inner_params": [f"transformer.h[{WISE['layer']}].mlp.c_proj.weight"],
                    **{"edit_lr": WISE["lr"], "n_iter": WISE["steps"], "alpha": alpha, "beta": beta, "gamma": gamma},
                    **{"retrieve": False, "replay": False, "merge_alg": "ties", "weights": 1.0, "densities": 0.53},
                    **{"objective_optimization": "only_label", **wise},
                },
            ),
        }
        self._fill(moments)

    def _fill(self, moments: Mapping[int, torch.Tensor]) -> None:
        """Contexts and covariances, where the peer keeps what it has made."""
        models = "easyeditor.models"
        import_module(f"{models}.rome.rome_main").CONTEXT_TEMPLATES_CACHE = list(CONTEXTS)
        import_module(f"{models}.memit.memit_main").CONTEXT_TEMPLATES_CACHE = [["{}"], list(CONTEXTS[1:])]
        import_module(f"{models}.wise.utils").CONTEXT_TEMPLATES_CACHE = list(CONTEXTS)
        name = str(self._folder).replace("/", "_")
        for layer, moment in moments.items():
            key = (name, MODULES["rewrite_module_tmp"].format(layer))
            import_module(f"{models}.rome.compute_u").inv_mom2_cache[key] = torch.inverse(moment)
            import_module(f"{models}.memit.memit_main").COV_CACHE[key] = moment

    def ready(self, method: str, records: Sequence[Mapping[str, str]]) -> Callable[[], float]:
        """The whole protocol as a function, its model loaded; it returns CPU seconds of editing alone."""
        name, fields = self._fields[method]
        if method != "rome":
            fields = fields | {"batch_size": len(records) if method == "memit" else 1}
        spec = getattr(self._package, name)(**fields, model_name=str(self._folder), device="cpu")
        # Without this flag the peer forgets every earlier edit of a sequence; no field of its options sets it.
        spec.sequential_edit = True
        with _quiet():
            editor = self._package.BaseEditor.from_hparams(spec)
        spent, apply = [0.0], editor.apply_algo

        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            try:
                return apply(*args, **kwargs)
            finally:
                spent[0] += time.process_time() - begun

        editor.apply_algo = timed
        texts = {field: [r[field] for r in records] for field in ("prompt", "target_new", "subject")}
        asked: dict[str, Any] = {
            "prompts": texts["prompt"],
            "target_new": texts["target_new"],
            "subject": texts["subject"],
            "rephrase_prompts": [r["rephrase_prompt"] for r in records],
            "verbose": False,
        }
        for measure in ("locality", "portability"):
            answers = [r[f"{measure}_answer"] for r in records]
            inside = {"prompt": [r[f"{measure}_prompt"] for r in records], "ground_truth": answers}
            asked[f"{measure}_inputs"] = {"other": inside}
        if method == "wise":
            asked["loc_prompts"] = asked["locality_inputs"]["other"]["prompt"]

        def work() -> float:
            with _quiet():
                if method == "memit":
                    editor.batch_edit(**asked)
                else:
                    editor.edit(**asked, sequential_edit=method in ("grace", "wise"))
            return spent[0]

        return work


@contextmanager
def _quiet() -> Iterator[None]:
    """The peer prints every step; its own log files go to the working directory."""
    logging.disable(logging.WARNING)
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
    logging.disable(logging.NOTSET)
