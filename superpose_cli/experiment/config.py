"""The typed configuration: what is trained, how it is judged, and where it runs.

Each group is one flat dataclass. Where a group has a `kind`, only the fields which that kind uses may be
set; `None` means "not set". Every default names its source. These classes hold values and nothing else:
`rules.py` checks them, `compose.py` fills them.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Activation(StrEnum):
    """An elementwise function of a layer."""

    identity = "identity"
    relu = "relu"


class Target(StrEnum):
    """What the output is compared with: the input, or its absolute value (paper, section "Computation")."""

    identity = "identity"
    abs = "abs"


class InitKind(StrEnum):
    """The standard deviation of the initial normal weights; see `InitConfig`."""

    xavier_normal = "xavier_normal"
    normal = "normal"
    notebook = "notebook"


class DataKind(StrEnum):
    """The joint law of which features are on."""

    independent = "independent"
    correlated = "correlated"
    anticorrelated = "anticorrelated"
    exactly_k = "exactly_k"
    finite = "finite"


class ValueKind(StrEnum):
    """The law of a feature's value when it is on."""

    uniform = "uniform"
    constant = "constant"
    exponential = "exponential"


class ImportanceKind(StrEnum):
    """How the importances I_i are described."""

    uniform = "uniform"
    geometric = "geometric"
    last = "last"
    explicit = "explicit"


class Optimizer(StrEnum):
    """Update rules, equal to `torch.optim`'s of the same names."""

    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"


class Schedule(StrEnum):
    """The learning rate after warm-up: constant, or decayed to 0 at the last step."""

    constant = "constant"
    linear = "linear"
    cosine = "cosine"


class Reduction(StrEnum):
    """How the trained loss is reduced over features (always a mean over the batch)."""

    mean = "mean"
    sum = "sum"


class Objective(StrEnum):
    """Training on drawn rows, or on the expectation over the data distribution."""

    sampled = "sampled"
    population = "population"


class EvaluationMethod(StrEnum):
    """How the stored loss is computed: on common drawn rows, or as the exact expectation."""

    sampled = "sampled"
    population = "population"


class Spacing(StrEnum):
    """How the recorded steps of a history are spread."""

    linear = "linear"
    log = "log"


class LauncherName(StrEnum):
    """Who hands out the shards of a grid, and to whom."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


class ResultsBy(StrEnum):
    """Whether workers write into the run's folder, which they then must see, or send their results back."""

    shared = "shared"
    returned = "returned"


class Dtype(StrEnum):
    """Floating-point type of weights, moments and arithmetic.

    tf32 and bf16 (engine triton): weights, moments, losses and sums are float32, but as wider models train,
    factors of a product are first rounded to 10 or 7 bits after the point.
    """

    float32 = "float32"
    float64 = "float64"
    tf32 = "tf32"
    bf16 = "bf16"


@dataclass(kw_only=True)
class ModelConfig:
    """h = act_hidden(x W + b_hidden); y = act_output(h W_dec^T + b); W_dec = W when tied."""

    n_features: int = 5
    """Number of features n. Default: the paper's introduction (n = 5, m = 2)."""
    n_hidden: int = 2
    """Number of hidden dimensions m. Default: the paper's introduction."""
    hidden_activation: Activation = Activation.identity
    """Activation of the hidden layer. Default: the paper's ReLU-output model."""
    output_activation: Activation = Activation.relu
    """Activation of the output. Default: the paper's ReLU-output model."""
    tied: bool = True
    """Whether the decoder is W^T. Default: the paper's ReLU-output model."""
    bias: bool = True
    """Whether the output has a trained bias b, one number a feature, 0 at the start."""
    hidden_bias: bool = False
    """Whether the hidden layer has a trained bias, one number a hidden dimension, 0 at the start."""
    target: Target = Target.identity
    """What the output is compared with."""
    hidden_l1: float = 0.0
    """Weight of the batch mean of ||h||_1 in the objective (not in the loss). Default: no penalty."""


@dataclass(kw_only=True)
class InitConfig:
    """Initial weights are normal with mean 0; the same draws are scaled by the kind's deviation."""

    kind: InitKind = InitKind.xavier_normal
    """xavier_normal: sqrt(2 / (n + m)); normal: `std`; notebook: sqrt(2 / (m (n + n_instances)))."""
    std: float | None = None
    """Standard deviation (kind normal)."""
    n_instances: int | None = None
    """The instance count of the 2022 notebook being imitated (kind notebook); never this grid's count."""


@dataclass(kw_only=True)
class DataConfig:
    """The distribution of the inputs x."""

    kind: DataKind = DataKind.independent
    """Which features are on together."""
    feature_probability: Any = None
    """P(x_i != 0) = 1 - S: a number in (0, 1], or a list with one number per feature."""
    last_probability: float | None = None
    """P of the last feature; null: as the others."""
    power: float | None = None
    """Power law: p_i = feature_probability * (i + 1)^-power; null or 0: equal p."""
    value: ValueKind = ValueKind.uniform
    """Values when on: uniform on (0, high], the constant high, or exponential with mean high."""
    high: float = 1.0
    """Scale of the values when on. Default: the paper's uniform on [0, 1]."""
    signed: bool = False
    """Whether each value that is on gets a random sign (uniform becomes uniform on [-high, high])."""
    set_size: int | None = None
    """Features in a set (correlated, anticorrelated); sets are consecutive, the last may be smaller."""
    correlation: float | None = None
    """Probability in [0, 1] that a feature follows its set's draw instead of its own (correlated)."""
    k: int | None = None
    """Number of features that are on in every row (exactly_k)."""
    n_rows: int | None = None
    """Rows of the fixed table (finite)."""
    unit_norm: bool | None = None
    """Whether rows are scaled to norm 1, empty rows redrawn (finite). Default when unset: false."""


@dataclass(kw_only=True)
class ImportanceConfig:
    """The weights I_i of the squared errors."""

    kind: ImportanceKind = ImportanceKind.uniform
    """uniform: 1; geometric: decay^i; last: 1, ..., 1, last_importance; explicit: `values`."""
    decay: float | None = None
    """Ratio of neighbouring importances (geometric)."""
    last_importance: float | None = None
    """Importance of the last feature (last)."""
    values: Any = None
    """A list with one importance per feature (explicit)."""


@dataclass(kw_only=True)
class TrainConfig:
    """The optimisation."""

    optimizer: Optimizer = Optimizer.adam
    """Update rule. Default: the lab's Adam without weight decay."""
    learning_rate: float = 3e-3
    """Peak learning rate."""
    weight_decay: float = 0.0
    """Adam, SGD: added to the gradient; AdamW: decoupled, multiplied by the learning rate."""
    momentum: float | None = None
    """Momentum (sgd); null: 0."""
    beta1: float | None = None
    """Decay of the first moment (adam, adamw); null: 0.9."""
    beta2: float | None = None
    """Decay of the second moment (adam, adamw); null: 0.999."""
    eps: float | None = None
    """Added to the root of the second moment (adam, adamw); null: 1e-8."""
    schedule: Schedule = Schedule.cosine
    """Learning rate after warm-up. Default: cosine to 0 (a constant rate blurs the fraction lines)."""
    warmup_steps: int = 0
    """Steps of linear warm-up from 0 to the learning rate."""
    steps: int = 5000
    """Number of updates."""
    n_batch: int | None = 1024
    """Rows a step; null: the whole table (finite data only)."""
    loss_reduction: Reduction = Reduction.mean
    """mean over features (the 2022 notebook) or sum (the 2023 note)."""
    objective: Objective = Objective.sampled
    """Train on drawn rows or on the expected loss."""


@dataclass(kw_only=True)
class EvaluationConfig:
    """How the stored loss is measured after training; does not affect the weights."""

    method: EvaluationMethod = EvaluationMethod.sampled
    """sampled: on n_rows common rows; population: the exact expectation."""
    n_rows: int | None = 65536
    """Rows of the sampled evaluation; not used by population."""
    attack: float | None = None
    """Norm of an attack on the inputs, over the mean norm of a row: the paper's 0.1. Null: none is tried."""


@dataclass(kw_only=True)
class HistoryConfig:
    """What is recorded during training; does not affect the weights."""

    every: int = 100
    """Record every so many steps (and at step 0 and the last); 0: record nothing."""
    spacing: Spacing = Spacing.linear
    """linear: every `every` steps; log: at most as many records, spread geometrically."""
    weights: bool = False
    """Whether each record keeps W (and W_dec, b)."""


@dataclass(kw_only=True)
class EngineConfig:
    """Where and how the arithmetic runs."""

    name: str = "auto"
    """auto: the fastest engine that accepts the model; or one of `superpose list engines`."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    dtype: Dtype = Dtype.float32
    """Floating-point type."""
    memory_fraction: float = 0.5
    """Share of the free memory that one pack of instances may take, in (0, 1]."""


@dataclass(kw_only=True)
class LauncherConfig:
    """Which processes train the shards. Fields that are unset have the defaults named here."""

    name: LauncherName = LauncherName.local
    """local: this process; ray: tasks on a Ray cluster; slurm: an array job, through submitit."""
    cpus: int | None = None
    """Processor cores of a worker (ray, slurm). Default: 1."""
    gpus: float | None = None
    """GPUs of a worker (ray, slurm); Ray lets workers share one: 0.5. Default: 0."""
    address: str | None = None
    """Of a Ray cluster: HOST:PORT, ray://HOST:PORT, or auto for the one that runs here (ray). Default: a new
    one on this machine."""
    retries: int | None = None
    """How often a shard whose worker was lost is trained again (ray). Default: 3."""
    results: ResultsBy | None = None
    """shared: workers commit to the run's folder; returned: this process does (ray). Default: shared."""
    partition: str | None = None
    """Partition of the jobs (slurm). Default: the cluster's own."""
    account: str | None = None
    """Account that the jobs are charged to (slurm). Default: the user's own."""
    minutes: int | None = None
    """Time limit of a job; one that meets it is requeued and goes on (slurm). Default: 60."""
    memory_gb: int | None = None
    """Memory of a job in GiB (slurm). Default: the cluster's own."""
    jobs: int | None = None
    """Jobs of the array at most, between which the shards are divided (slurm). Default: 64."""
    wait: bool | None = None
    """Whether the command waits for the jobs (slurm); where not, running it again does. Default: true."""


@dataclass(kw_only=True)
class Config:
    """Everything that one point of the grid is made of, and how its run is judged, shown and computed."""

    model: ModelConfig = field(default_factory=ModelConfig)
    init: InitConfig = field(default_factory=InitConfig)
    data: DataConfig = field(default_factory=DataConfig)
    importance: ImportanceConfig = field(default_factory=ImportanceConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    restarts: int = 1
    """Trainings of each cell that differ only in their random numbers."""
    seed: int = 0
    """Root of every random number of the run; 0 .. 2^63 - 1."""
    paired: bool = False
    """Whether all cells share the draws of a restart (common random numbers)."""
    experiment: str | None = None
    """Name of the experiment; names the folder under outputs/. Null: custom."""
    plots: list[str] = field(default_factory=list)
    """The plots that `superpose plot` draws by default."""
    grid: Any = None
    """Axes: dotted key -> sweep string or list; `zip`: a list of such mappings that advance together."""
