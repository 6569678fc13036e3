"""The run that tests change: what they do not name is small and needs nothing."""

from common.rl.run import Run

RUN = Run(
    model="pocket",
    task="opchain",
    dataset="",
    evaluation_sets="",
    learning_rate=1e-4,
    batch=128,
    mini_batch=16,
    group_size=16,
    max_response=32,
    iterations=30,
    training_prompts=40,
    evaluation_samples=16,
    curve_samples=16,
    evaluation_temperature=1.0,
    evaluation_prompts=12,
    save_every=80,
    training_rows=0,
    scoring_batch=128,
    vllm=False,
)
