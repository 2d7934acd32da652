"""A change of every field of the configuration, by what it changes."""

FINITE = {"data.kind": "finite", "data.n_rows": 8, "data.feature_probability": 0.2}
SETS = {"data.kind": "correlated", "data.set_size": 5, "data.correlation": 1.0}
INPUTS = {  # field -> (fields beside it, another value): changes what is drawn
    "model.n_features": ({}, 6),
    "model.n_hidden": ({}, 3),
    "model.hidden_activation": ({}, "relu"),
    "model.output_activation": ({}, "identity"),
    "model.tied": ({}, False),
    "model.bias": ({}, False),
    "model.hidden_bias": ({}, True),
    "model.target": ({}, "abs"),
    "model.hidden_l1": ({}, 0.1),
    "data.kind": ({"data.n_rows": None}, "anticorrelated"),
    "data.feature_probability": ({}, 0.2),
    "data.last_probability": ({}, 0.2),
    "data.power": ({}, 1.0),
    "data.value": ({}, "constant"),
    "data.high": ({}, 2.0),
    "data.signed": ({}, True),
    "data.set_size": (SETS, 4),
    "data.correlation": (SETS, 0.5),
    "data.k": ({"data.kind": "exactly_k", "data.feature_probability": None, "data.k": 1}, 2),
    "data.n_rows": (FINITE, 9),
    "data.unit_norm": (FINITE, True),
    "importance.kind": ({}, "geometric"),
    "importance.decay": ({"importance.kind": "geometric", "importance.decay": 0.5}, 0.7),
    "importance.last_importance": ({"importance.kind": "last", "importance.last_importance": 0.5}, 0.7),
    "importance.values": (
        {"importance.kind": "explicit", "importance.values": (1.0,) * 5},
        (1.0, 1.0, 1.0, 1.0, 2.0),
    ),
}
TRAINING = {  # changes the weights, not what is drawn
    "init.kind": ({}, "normal"),
    "init.std": ({"init.kind": "normal", "init.std": 0.1}, 0.2),
    "init.n_instances": ({"init.kind": "notebook", "init.n_instances": 10}, 20),
    "train.optimizer": ({}, "adamw"),
    "train.learning_rate": ({}, 1e-3),
    "train.weight_decay": ({}, 0.01),
    "train.momentum": ({"train.optimizer": "sgd"}, 0.9),
    "train.beta1": ({}, 0.8),
    "train.beta2": ({}, 0.99),
    "train.eps": ({}, 1e-6),
    "train.schedule": ({}, "linear"),
    "train.warmup_steps": ({}, 10),
    "train.steps": ({}, 10),
    "train.n_batch": ({}, 128),
    "train.loss_reduction": ({}, "sum"),
    "train.objective": ({}, "population"),
}
NEEDS = {  # what the other value needs beside it
    "data.kind": {"data.set_size": 5},
    "importance.kind": {"importance.decay": 0.5},
    "init.kind": {"init.std": 0.1},
    **{
        f"launcher.{leaf}": {"launcher.name": "ray"}
        for leaf in ("cpus", "gpus", "address", "retries", "results")
    },
    **{
        f"launcher.{leaf}": {"launcher.name": "slurm"}
        for leaf in ("partition", "account", "minutes", "memory_gb", "jobs", "wait")
    },
}
OTHER = {  # changes neither: field -> another value
    "evaluation.method": "population",
    "evaluation.n_rows": 10,
    "evaluation.attack": 0.1,
    "history.every": 7,
    "history.spacing": "log",
    "history.weights": True,
    "engine.name": "torch",
    "engine.device": "cpu",
    "engine.dtype": "float64",
    "engine.memory_fraction": 0.1,
    "launcher.name": "slurm",
    "launcher.cpus": 2,
    "launcher.gpus": 0.5,
    "launcher.address": "auto",
    "launcher.retries": 1,
    "launcher.results": "returned",
    "launcher.partition": "long",
    "launcher.account": "lab",
    "launcher.minutes": 5,
    "launcher.memory_gb": 2,
    "launcher.jobs": 3,
    "launcher.wait": False,
    "restarts": 2,
    "experiment": "another",
    "plots": ["arrows"],
}
CHANGES = (
    INPUTS
    | TRAINING
    | {"seed": ({}, 1), "paired": ({}, True)}
    | {key: ({}, value) for key, value in OTHER.items()}
)
