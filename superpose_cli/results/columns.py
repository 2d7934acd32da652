"""Every stored column: its type, its unit and what it means. The one table that code and documents share.

Types: i32, i64, f32, f64, bool; `str`: dictionary-encoded text; `hex`: plain text, 16 hex digits;
`f32[]`, `f64[]`: lists. A unit of 1 is a pure number. Names of configuration columns are the configuration's
leaf names, made unique; a column that the cell's kinds do not use is null.
"""

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1
"""Raised when a reader of the old tables would misread the new ones; new columns alone do not raise it."""

MEASURES_VERSION = 1
"""Raised when a column of `MEASURED`, `FEATURES` or `HISTORY` joins, or comes to say something else of the
same weights: what is stored is then measured anew, not copied."""

Type = Literal["i32", "i64", "f32", "f64", "bool", "str", "hex", "f32[]", "f64[]"]


@dataclass(frozen=True)
class Column:
    """One column of a table; `nullable` columns may be null, and are filled with null where not given."""

    name: str
    type: Type
    unit: str
    meaning: str
    nullable: bool = False


IDENTITY = (
    Column("key", "hex", "1", "Hash of all that determines the trained weights, 16 hex digits."),
    Column("cell", "i64", "1", "Number of the grid point: row-major over the axes, the first one slowest."),
    Column("restart", "i32", "1", "Number of the training of the cell, from 0."),
)

CONFIG = (
    Column("seed", "i64", "1", "Root of every random number."),
    Column("paired", "bool", "1", "Whether all cells share the draws of a restart.", nullable=True),
    # model
    Column("n_features", "i64", "features", "Number of features n."),
    Column("n_hidden", "i64", "dimensions", "Number of hidden dimensions m."),
    Column("hidden_activation", "str", "1", "Activation of the hidden layer."),
    Column("output_activation", "str", "1", "Activation of the output."),
    Column("tied", "bool", "1", "Whether the decoder is the transpose of W."),
    Column("bias", "bool", "1", "Whether the output has a trained bias."),
    Column("hidden_bias", "bool", "1", "Whether the hidden layer has a trained bias."),
    Column("target", "str", "1", "What the output is compared with: the input or its absolute value."),
    Column("hidden_l1", "f64", "1", "Weight of the mean L1 norm of h in the objective."),
    # init
    Column("init_kind", "str", "1", "Rule for the standard deviation of the initial weights."),
    Column("init_std", "f64", "1", "Standard deviation of the initial weights (kind normal).", nullable=True),
    Column("init_n_instances", "i64", "1", "Instance count of the imitated 2022 notebook.", nullable=True),
    # data
    Column("data_kind", "str", "1", "The joint law of which features are on."),
    Column("feature_probability", "f64", "1", "P(x_i != 0); null if given as a list.", nullable=True),
    Column("last_probability", "f64", "1", "P(x_i != 0) of the last feature.", nullable=True),
    Column("power", "f64", "1", "Exponent of the power law of p over features.", nullable=True),
    Column("value", "str", "1", "Law of a feature's value when it is on."),
    Column("high", "f64", "1", "Scale of the values when on."),
    Column("signed", "bool", "1", "Whether each value that is on gets a random sign."),
    Column("set_size", "i64", "features", "Features in a set (correlated, anticorrelated).", nullable=True),
    Column("correlation", "f64", "1", "Probability that a feature follows its set.", nullable=True),
    Column("k", "i64", "features", "Features that are on in every row (exactly_k).", nullable=True),
    Column("n_rows", "i64", "rows", "Rows of the fixed table (finite).", nullable=True),
    Column("unit_norm", "bool", "1", "Whether rows are scaled to norm 1 (finite).", nullable=True),
    # importance
    Column("importance_kind", "str", "1", "How the importances are described."),
    Column("decay", "f64", "1", "Ratio of neighbouring importances (geometric).", nullable=True),
    Column("last_importance", "f64", "1", "Importance of the last feature (last).", nullable=True),
    # train
    Column("optimizer", "str", "1", "Update rule."),
    Column("learning_rate", "f64", "1", "Peak learning rate."),
    Column("weight_decay", "f64", "1", "Weight decay: in the gradient (adam, sgd) or decoupled (adamw)."),
    Column("momentum", "f64", "1", "Momentum (sgd).", nullable=True),
    Column("beta1", "f64", "1", "Decay of the first moment (adam, adamw).", nullable=True),
    Column("beta2", "f64", "1", "Decay of the second moment (adam, adamw).", nullable=True),
    Column("eps", "f64", "1", "Added to the root of the second moment (adam, adamw).", nullable=True),
    Column("schedule", "str", "1", "Learning rate after warm-up."),
    Column("warmup_steps", "i64", "steps", "Steps of linear warm-up."),
    Column("steps", "i64", "steps", "Number of updates."),
    Column("n_batch", "i64", "rows", "Rows a step; null: the whole table.", nullable=True),
    Column("loss_reduction", "str", "1", "How the trained loss is reduced over features."),
    Column("train_objective", "str", "1", "Training on drawn rows or on the expected loss."),
)

DRAWN = (
    Column("table_key", "hex", "1", "Philox key that the fixed table is drawn from (finite).", nullable=True),
)
"""What follows from the configuration, for whoever wants the same draws again."""

MEASURED = (
    Column("objective", "f64", "loss", "What was trained: the loss plus hidden_l1 times hidden_l1_mean."),
    Column("loss", "f64", "loss", "Importance-weighted squared error, mean over rows and features."),
    Column("loss_method", "str", "1", "How the loss was computed: sampled or population."),
    Column(
        "loss_stderr",
        "f64",
        "loss",
        "Standard error of the loss (sampled), or a bound of its error (population).",
    ),
    Column(
        "loss_ratio",
        "f64",
        "1",
        "Loss over that of the best constant output; null where that is 0.",
        nullable=True,
    ),
    Column("train_loss", "f64", "loss", "Loss on the fixed table (finite data).", nullable=True),
    Column("loss_zero", "f64", "loss", "Part of the loss from rows with no feature on.", nullable=True),
    Column("loss_benefit", "f64", "loss", "Part of a single active feature on itself.", nullable=True),
    Column(
        "loss_interference", "f64", "loss", "Part of a single active feature on the others.", nullable=True
    ),
    Column("loss_coactive", "f64", "loss", "Part from rows with two or more features on.", nullable=True),
    Column(
        "vulnerability",
        "f64",
        "1",
        "Loss that an attack on the inputs adds, over its squared norm; null where none was tried.",
        nullable=True,
    ),
    Column("frobenius_norm_sq", "f64", "1", "||W||_F^2: about the number of features represented."),
    Column("dims_per_feature", "f64", "dimensions", "D* = m / ||W||_F^2."),
    Column("n_represented", "i64", "features", "Features with ||W_i||^2 > 0.25."),
    Column("singular_values", "f64[]", "1", "Singular values of W, largest first; W^T W has their squares."),
    Column("effective_rank", "f64", "1", "exp of spectral_entropy."),
    Column("spectral_entropy", "f64", "nats", "Entropy of the singular values of W as shares of their sum."),
    Column("participation_ratio", "f64", "1", "tr(W^T W)^2 / tr((W^T W)^2): k for k equal eigenvalues."),
    Column("entanglement_entropy", "f64", "nats", "Entropy of the eigenvalues of W^T W as shares."),
    Column("hidden_eigenvalues", "f64[]", "1", "Eigenvalues of the covariance of h, largest first."),
    Column("hidden_effective_rank", "f64", "1", "exp of hidden_spectral_entropy."),
    Column("hidden_spectral_entropy", "f64", "nats", "Entropy of hidden_eigenvalues as shares."),
    Column("hidden_participation_ratio", "f64", "1", "(Sum of hidden_eigenvalues)^2 / sum of their squares."),
    Column("hidden_l1_mean", "f64", "1", "Mean over rows of the L1 norm of h; NaN of a population."),
    Column("b_hidden", "f32[]", "1", "Bias of the hidden layer; null if the model has none.", nullable=True),
    Column("status", "str", "1", "ok, dead (all gradients zero) or diverged."),
    Column("failed_step", "i64", "steps", "First step that left a non-finite weight.", nullable=True),
    Column("engine", "str", "1", "Engine that trained the instance."),
    Column("numerics", "str", "1", "Engine, dtype, version and instruction set: equal bits where equal."),
)

INSTANCES = IDENTITY + CONFIG + DRAWN + MEASURED

FEATURES = (
    *IDENTITY,
    Column("feature", "i32", "1", "Number of the feature, from 0."),
    Column("feature_probability", "f64", "1", "P(x_i != 0) of this feature."),
    Column("importance", "f64", "1", "Weight I_i of its squared error."),
    Column("norm", "f32", "1", "||W_i||."),
    Column("bias", "f32", "1", "Output bias b_i; null if the model has none.", nullable=True),
    Column("interference", "f32", "1", "Sum over j != i of (unit W_i . W_j)^2; 0 if W_i = 0."),
    Column("row_sum", "f32", "1", "Signed sum of row i of W W^T."),
    Column("row_abs_sum", "f32", "1", "Sum of the absolute values of row i of W W^T."),
    Column("dimensionality", "f32", "dimensions", "D_i: share of a dimension the feature has; 0 if W_i = 0."),
    Column("leverage", "f32", "1", "W_i^T S^+ W_i with S = W^T W; at least D_i."),
    Column("basis_alignment", "f32", "1", "max_k W_ik^2 / ||W_i||^2: 1 if the feature is one neuron's."),
    Column("regime", "str", "1", "ignored, dedicated or superposed; undefined where W is not finite."),
    Column("feature_loss", "f64", "loss", "I_i E(target_i - y_i)^2; its mean over features is the loss."),
    Column("W", "f32[]", "1", "Row W_i, of length m."),
    Column("W_dec", "f32[]", "1", "Row i of the decoder, of length m; null if tied.", nullable=True),
)

HISTORY = (
    *IDENTITY,
    Column("step", "i64", "steps", "Updates done when the record was taken."),
    Column("loss", "f64", "loss", "Loss on the first 4,096 evaluation rows."),
    Column("train_loss", "f64", "loss", "Loss on the fixed table (finite data).", nullable=True),
    Column("frobenius_norm_sq", "f64", "1", "||W||_F^2, if weights are recorded.", nullable=True),
    Column("W", "f32[]", "1", "W, row-major, n * m numbers, if weights are recorded.", nullable=True),
    Column("W_dec", "f32[]", "1", "Decoder, row-major, if recorded and untied.", nullable=True),
    Column("b", "f32[]", "1", "Output bias, n numbers, if recorded.", nullable=True),
)

TABLES: dict[str, tuple[Column, ...]] = {"features": FEATURES, "history": HISTORY, "instances": INSTANCES}
"""The columns of each table, in the order in which a shard's files are committed."""
