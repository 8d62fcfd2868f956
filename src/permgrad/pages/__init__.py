"""Plots and HTML pages: ``permgrad.pages.plots`` and
``permgrad.pages.html.render_report``.

Importing this package, as the import of permgrad does, attaches them to the results
that show themselves.
"""

from permgrad.base.shown import views

views.update(
    {
        "Changes.summary": "permgrad.pages.summaries.changes_summary",
        "Comparison.html": "permgrad.pages.comparison_page.comparison_page",
        "Comparison.sentences": "permgrad.pages.comparison_page.sentences",
        "Counterfactuals.summary": "permgrad.pages.summaries.counterfactuals_summary",
        "Explanation.evaluate": "permgrad.evaluation.explanations.evaluate",
        "Estimator.reasons": "permgrad.attribution.reasons.reasons",
        "Evaluation.plot": "permgrad.pages.plots.modality.removal",
        "Explanation.html": "permgrad.pages.notebook.to_html",
        "Explanation.plot": "permgrad.pages.plots.plot_methods.PlotAccessor",
        "Explanation.summary": "permgrad.pages.summaries.summary",
        "Missing.plot": "permgrad.pages.plots.modality.missing",
        "Missing.summary": "permgrad.pages.summaries.missing_summary",
        "Model.describe": "permgrad.attribution.request.describe.description",
        "Model.predict": "permgrad.attribution.request.describe.explained_outputs",
    }
)
