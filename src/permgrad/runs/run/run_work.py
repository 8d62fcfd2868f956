"""A run at work: what its stages pass on in memory, read from its folder, or compute
when they first need it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.base import clone

from permgrad.assess.assess import fill
from permgrad.assess.assessed_model import Cache, EvaluatedModel, Network, TrainedOther
from permgrad.assess.assessment import Assessment
from permgrad.assess.budget import Budget, Clock, Say
from permgrad.assess.store import Store
from permgrad.assess.work import Work
from permgrad.attribution.explain_refits import refit
from permgrad.attribution.explanation import Explanation
from permgrad.attribution.explanation.explanation_frames import file_frame
from permgrad.attribution.model import Model
from permgrad.attribution.request.arguments import Arguments
from permgrad.base.csv_files import write_csv
from permgrad.base.files import file_hash, plain, write_json_atomic
from permgrad.base.stored import TIMES, read_json, write_npz
from permgrad.data.encode.groups import PROPOSED
from permgrad.data.types.findings import without_scores
from permgrad.evaluation.baselines.fitting import (
    FIT_TIMES,
    run_baselines,
    why_absent,
)
from permgrad.imaging.path import is_ordered
from permgrad.models.estimators.fit_inputs import code_target
from permgrad.models.estimators.kept_rows import draw_background, rows_in
from permgrad.models.estimators.prepared import EncodedRows
from permgrad.models.libraries.job import Rows as BaselineRows
from permgrad.models.save.saving import load, load_trusting
from permgrad.pages.content import PageContent
from permgrad.pages.verdict import verdict
from permgrad.runs.options import is_file
from permgrad.runs.requests import Outcome, RunRequest
from permgrad.runs.run.assessing import (
    BASELINE_PREDICTIONS,
    data_section,
    look_of,
    page_of,
    read_assessment,
)
from permgrad.runs.run.choosing import trusted
from permgrad.runs.run.others import choose
from permgrad.runs.run.predicting import prediction_table
from permgrad.runs.run.run_inputs import Inputs
from permgrad.runs.run.run_summary import summarise
from permgrad.runs.run.run_training import fit_encoder, make_estimator
from permgrad.runs.run_documents import COLUMNS, DATA
from permgrad.runs.run_folder import CACHE, RECORD, RunFolder

#: Said of a model of a file.
FITTED_BEFORE = (
    "{} was fitted before: permgrad does not know on which rows. If test "
    "rows are among them, the scores are too good."
)


@dataclass
class RunWork:
    """What stages pass on in memory.

    What is missing is read from the folder or computed again.

    ``encoded``: the rows of each part of the split. ``documents``: what JSON files of
    the folder hold.
    """

    request: RunRequest
    inputs: Inputs
    folder: RunFolder
    say: Say
    clock: Clock = field(default_factory=Clock)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    encoded: dict[str, EncodedRows] = field(default_factory=dict)

    def read(self, name: str) -> dict[str, Any]:
        """Return what a document of the folder holds."""
        if name not in self.documents:
            self.documents[name] = read_json(self.folder.path / name)
        return self.documents[name]

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a document of the folder."""
        self.documents[name] = plain(dict(content))
        write_json_atomic(self.folder.path / name, self.documents[name])

    @cached_property
    def untrained(self) -> tuple[Any, EncodedRows]:
        """The model that is to be trained, and the training rows, by which its encoder
        is fitted.
        """
        model = make_estimator(self.request, self.inputs, self.chosen)
        encoded_rows = fit_encoder(model, self.inputs)
        self.encoded["train"] = encoded_rows
        return model, encoded_rows

    @property
    def chosen(self) -> str:
        """The model that is trained: of ``auto`` the best one, which a run that resumes
        does not choose again.
        """
        if self.request.model != "auto":
            return self.request.model
        facts = self.folder.record["facts"]
        if "auto" not in facts:
            facts["auto"] = choose(self)
            write_json_atomic(self.folder.path / RECORD, self.folder.record)
        return str(facts["auto"]["model"])

    @cached_property
    def model(self) -> Any:
        """The trained model.

        One that was saved without rows draws them from the training rows again.
        """
        folder = self.folder.path / "model"
        request = self.request
        if self.chosen != "network":
            return load_trusting(folder, trust=trusted(request))
        model = load(folder, device=request.device)
        if not rows_in(model)[0]:
            train = self.inputs.parts["train"]
            encoded = self.encoded["train"] = model.encode_rows(train.inputs)
            draw_background(model, encoded.encoded, code_target(model, train.y))
        return model

    @property
    def notes(self) -> list[str]:
        """The notes on the table, on the choice of the model, and on columns without a
        score that helps.
        """
        inputs = self.inputs
        request = self.request
        if self.chosen == request.model:
            choice_notes = []
        else:
            choice_notes = [self.folder.record["facts"]["auto"]["sentence"]]
        if is_file(request.model):
            choice_notes = [FITTED_BEFORE.format(Path(request.model).name)]
        notes = [*inputs.notes, *choice_notes]
        # Only text and rare levels may have no score that helps. Other tables are
        # encoded where that is needed.
        types = inputs.feature_types
        if types.of_modality("text") or types.where(lambda kind: kind.is_levels):
            encoder = self.untrained[0].preprocessor_
            unused = without_scores(
                encoder.schema_, encoder.scoreless_, encoder.max_levels
            )
            notes += [finding.text(command=True) for finding in unused]
        return notes

    @cached_property
    def assessing(self) -> Work:
        """What the sections are computed from.

        What earlier sessions stored of them is read.
        """
        inputs = self.inputs
        request = self.request
        folder = self.folder.path
        facts: dict[str, Any] = {
            "positive": None if inputs.positive is None else str(inputs.positive),
            "seed": request.seed,
            # This file holds the checksums of the other files of the model.
            "cache": Cache(folder / CACHE, file_hash(folder / "model" / "model.json")),
        }
        if self.chosen == "network":
            model: EvaluatedModel = Network.of(self.model, **facts)
        else:
            # An encoder knows what is one feature. Raw columns are searched for it,
            # unless this is said.
            if hasattr(self.model, "of_encoded"):
                facts["options"] = {}
            else:
                facts["options"] = {"groups": inputs.groups}
            facts["counts"] = inputs.counts
            model = TrainedOther.of(
                self.model, inputs.parts["train"].frame, self.clock, **facts
            )
        content = Assessment(
            title=inputs.name,
            target=inputs.target,
            task=inputs.task,
            positive=inputs.positive,
            subject=model.subject,
        )
        if "model" in self.folder.record["finished_stages"]:
            content = read_assessment(folder, self.model)
        content.data = data_section(self.read(DATA), self.read(COLUMNS))
        notes: dict[str, list[str]] = {}
        for card_note in () if inputs.card is None else inputs.card.notes:
            notes.setdefault(card_note.split(" ")[0], []).append(card_note)
        for part_name, part_rows in inputs.parts.items():  # it is encoded once
            encoded_part = self.encoded.get(part_name)
            if (
                encoded_part is None
                or encoded_part.encoder is not self.model.preprocessor_
            ):
                self.encoded[part_name] = self.model.encode_rows(
                    part_rows.inputs if encoded_part is None else encoded_part
                )
        encoded_parts = {}
        for encoded_name, rows_of_part in inputs.parts.items():
            encoded_parts[encoded_name] = replace(
                rows_of_part, inputs=self.encoded[encoded_name]
            )
        return Work(
            model,
            encoded_parts["test"],
            content,
            self.budget,
            train=encoded_parts["train"],
            validation=encoded_parts["validation"],
            store=Store(folder),
            fit_others=self.fit_baselines if request.wanted_baselines else None,
            refit=self.refit,
            card_notes=notes,
        )

    @cached_property
    def budget(self) -> Budget:
        """What the assessment may cost."""
        options = {}
        for field_name in ("seed", "refits"):
            options[field_name] = getattr(self.request, field_name)
        return Budget(
            clock=self.clock,
            say=self.say,
            max_rows=self.request.rows_at_most or "auto",
            **options,
        )

    @cached_property
    def page(self) -> PageContent:
        """What the page tells of the whole run, in the look asked for now, else that of
        the record.
        """
        record = self.folder.record
        page_look = record["facts"]["page"] = look_of(
            record, keep_rows=self.request.keep_rows
        )
        return page_of(
            self.folder.path, record, self.assessing.content, self.model, page_look
        )

    def fit_baselines(self, guesses: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """Train baselines on the rows of the network."""
        inputs = self.inputs
        names = []
        for baseline_name in self.request.wanted_baselines:
            if why_absent(baseline_name) is None:
                names.append(baseline_name)
        rows_by_part = {}
        for part_name, part_rows in inputs.parts.items():
            rows_by_part[part_name] = BaselineRows(
                self.encoded[part_name].encoded, part_rows.y, part_rows.weights
            )
        scores = run_baselines(
            inputs.task,
            rows_by_part,
            classes=getattr(self.model, "classes_", np.zeros(0)),
            names=names,
            seed=self.request.seed,
            threads=torch.get_num_threads(),
            positive=inputs.positive,
            guesses=guesses,
            counts=inputs.counts,
        )
        times = {}
        for baseline_name, baseline_scores in scores.items():
            times[baseline_name] = {
                time_key: baseline_scores.pop(time_key) for time_key in FIT_TIMES
            }
        self.write(TIMES, {"baselines": times})
        return scores

    def measure(self) -> None:
        """Evaluate the model on validation and test rows, train the baselines if
        requested, and write the metrics.
        """
        folder = self.folder.path
        test_numbers = self.inputs.parts["test"].numbers
        content = fill(self.assessing, ("model",))
        predicted = self.assessing.predictions
        write_csv(self.predictions, folder / "predictions.csv")
        if self.chosen == "network":
            write_csv(
                self.model.history_.drop(columns="seconds"), folder / "history.csv"
            )
        if content.guesses:
            if predicted.classes:
                classes = {"classes": np.asarray(predicted.classes)}
            else:
                classes = {}
            write_npz(
                folder / BASELINE_PREDICTIONS,
                {"row": test_numbers, **classes, **content.guesses},
            )

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """The lines of ``predictions.csv``."""
        test_rows = self.inputs.parts["test"]
        predicted = self.assessing.predictions
        predicted_parts = {"prediction": predicted.guess}
        if predicted.classes:
            decided_labels = np.asarray(self.model.classes_)[predicted.scored.decided]
            predicted_parts = {
                "prediction": decided_labels,
                "probabilities": predicted.guess,
            }
        if predicted.inside is not None:
            predicted_parts |= {"inside": predicted.inside}
        assert test_rows.identifiers is not None
        return prediction_table(
            test_rows.numbers,
            test_rows.identifiers,
            predicted_parts,
            self.model,
            truth=test_rows.y,
        )

    @cached_property
    def importances(self) -> pd.DataFrame:
        """The lines of ``importance.csv``."""
        assert self.assessing.content.explanation is not None
        return file_frame(self.assessing.content.explanation)

    def summary(self) -> Outcome:
        """Return what the terminal shows of the finished run."""
        folder_path = self.folder.path
        return summarise(
            folder_path,
            self.page,
            plain(verdict(self.page)),
            self.importances,
            times=self.read(TIMES)["baselines"]
            if (folder_path / TIMES).is_file()
            else {},
            time=self.folder.record["facts"].get("time"),
            grouped=bool(self.read(PROPOSED)),
        )

    def refit(self, refits: int) -> Explanation:
        """Repeat the training on parts of its rows."""
        refit_parts = []
        for part_name in ("train", "validation"):
            refit_parts.append(self.inputs.parts[part_name])
        self.say(
            f"  refits: {refits} trainings on parts of {sum(map(len, refit_parts)):,} "
            "rows"
        )
        related = []
        for part_rows in refit_parts:
            if part_rows.dependence is not None:
                related.append(part_rows.dependence)
        further: dict[str, Any] = {}
        if related:
            further |= {
                related[0].argument[0]: np.concatenate(
                    [dependence.codes for dependence in related]
                )
            }
        if self.chosen == "network":
            if is_ordered(self.model.layout):
                layout = self.model.order_.layout
            else:
                layout = None
            estimator = clone(self.model).set_params(
                layout=layout, device=self.request.device
            )
        else:
            estimator = make_estimator(self.request, self.inputs, self.chosen)
        features = len(self.model.preprocessor_.features())
        arguments = Arguments(
            Model(estimator, positive=self.inputs.positive),
            pd.concat(
                [part_rows.table for part_rows in refit_parts], ignore_index=True
            ),
            np.concatenate([part_rows.y for part_rows in refit_parts]),
            n_repeats=Budget().ranking_options(features)["n_repeats"],
            random_state=self.request.seed,
            **further,
        )
        return refit(arguments, refits=refits)


#: Stages that take less say nothing of it.
TOLD_SECONDS = 1.0


def do_stages(
    work: RunWork, stages: Mapping[str, Callable[[RunWork], Any]], reading: float = 0.0
) -> None:
    """Do the stages that are not finished.

    ``reading``: seconds that the table took before there was a folder.
    """
    folder = work.folder
    for number, (stage_name, stage) in enumerate(stages.items(), start=1):
        title = f"[{number}/{len(stages)}] {stage_name}"
        if stage_name in folder.record["finished_stages"]:
            work.say(f"{title}: finished before")
            continue
        work.say(title)
        with folder.stage(stage_name, reading if stage_name == "data" else 0.0):
            stage(work)
        seconds = folder.record["stages"][stage_name]["seconds"]
        if seconds >= TOLD_SECONDS:
            work.say(f"  {stage_name} took {seconds:.1f} s")
