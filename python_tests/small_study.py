"""A study that takes seconds, on tiny clips."""

import json
from pathlib import Path

from tiny_clips import tiny_config

from rpstn_training.config import to_dict
from rpstn_training.study.plan import StudyConfig, load_study


def tiny_study(root: Path, output: Path, **changes) -> StudyConfig:
    config = tiny_config(root, output)
    sizes = {"width": 8, "channels": 16}
    plain = {
        "output": str(output),
        "drawn": {"clips": 0},
        **{
            key: value for key, value in to_dict(config).items() if key in ("data", "augmentation", "heatmap")
        },
        "train": {"batch_size": 2, "learning_rate": 2e-3, "device": "cpu"},
        "held_out": 0.4,
        "networks": {
            "image": {"model": "sbl", "backbone": "resnet18", "relation_norm": True, **sizes},
            "video": {
                "model": "rpstn",
                "pose_initializer": "resnet18",
                "feature_extractor": "resnet18",
                "relation": "none",
                **sizes,
            },
        },
        "memory": {"budgets": [1], "seeds": 1},
        "heads": {
            "arms": ["control", "jre", "displacement"],
            "few": ["control", "displacement"],
            "seeds": 1,
            "clips": 2,
            "steps": 2,
        },
        "fine_tuning": {"arms": ["control", "jre"], "seeds": 1, "epochs": 1},
        "score": {"resamples": 100},
    }
    file = output.parent / f"{output.name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(plain))
    return load_study(file, [f"{key}={json.dumps(value)}" for key, value in changes.items()])
