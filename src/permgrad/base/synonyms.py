"""What others call what permgrad has: names of the field, and where a message sends those who write them."""

from __future__ import annotations

#: The names of permgrad or scikit-learn for another one, which is in small letters without signs. The first that can be
#: chosen counts.
SYNONYMS: dict[str, tuple[str, ...]] = {
    name: wanted
    for names, wanted in (
        # methods
        (("shap", "kernelshap", "treeshap", "deepshap", "samplingshap", "sage"), ("shapley",)),
        (("pfi", "mda", "permutationimportance", "permutationfeatureimportance"), ("permutation",)),
        (("ig", "intgrad"), ("integrated_gradients",)),
        (("saliency", "vanillagradient", "inputxgradient"), ("gradient",)),
        (("pdp", "ice", "partialdependence"), ("ale",)),
        (("occlusion",), ("ablation",)),
        # losses and scores
        (("mse", "l2", "meansquarederror"), ("squared_error", "neg_mean_squared_error")),
        (("mae", "l1", "meanabsoluteerror"), ("absolute_error", "neg_mean_absolute_error")),
        (("rmse",), ("squared_error", "neg_root_mean_squared_error")),
        (("logloss", "nll", "bce", "softmax"), ("cross_entropy", "log_loss", "neg_log_loss")),
        (("acc", "accuracy", "error"), ("accuracy", "zero_one")),
        (("auc", "auroc", "rocauc"), ("roc_auc",)),
        (("auprc", "prauc", "ap"), ("average_precision",)),
        (("f1", "fscore"), ("macro_f1", "f1")),
        # models
        (("lgbm", "lgb", "gbm", "gbdt"), ("lightgbm",)),
        (("xgb",), ("xgboost",)),
        (("cat", "cb"), ("catboost",)),
        (("rf", "forest"), ("random_forest",)),
        (("ridge", "lasso", "logistic", "regression", "ols", "glm"), ("linear",)),
        (("mlp", "nn", "neuralnetwork"), ("network", "default")),
        # kinds of columns
        (("number", "float", "int", "integer", "continuous", "double"), ("numeric",)),
        (("category", "factor", "nominal", "enum"), ("categorical",)),
        (("bool", "binary", "flag"), ("boolean",)),
        (("datetime", "time", "timestamp"), ("date",)),
        (("string", "str", "words"), ("text",)),
        (("id", "key", "index"), ("identifier",)),
    )
    for name in names
}
