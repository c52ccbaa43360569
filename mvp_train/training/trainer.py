"""Runs a training `Plan` with TRL's GRPO trainer; adds step times, a run log and exact resume.

Only this module imports TRL, which is slow.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PrinterCallback, ProgressCallback
from trl import GRPOConfig, GRPOTrainer

from mvp_data.core.errors import ConfigError, MvpError
from mvp_data.core.seeds import stable_hash
from mvp_data.core.text import one_line
from mvp_train.dataset import to_dataset
from mvp_train.models.load import lora_config, with_weights
from mvp_train.reward import MvpReward
from mvp_train.training.logs import RunLog, StepClock
from mvp_train.training.plan import Plan
from mvp_train.training.run_folder import FINAL_NAME, STATE_NAME, last_checkpoint, owned, saved_step, step_of

__all__ = ["GRPOConfig", "Trainer", "train"]


def train(plan: Plan, *, reward: Callable[..., list[float]] | None = None) -> Path:
    """Train to the end of the plan, from the last checkpoint if there is one; return the folder of the final model.

    Does nothing for a finished run. `reward`, in TRL's signature, replaces the recipe's reward in a control run.

    Raises:
        OutputError: another run uses the output folder.
        ShardError: a sample cannot be read; the message names it.
    """
    recipe, final = plan.recipe, plan.recipe.output_dir / FINAL_NAME
    with owned(recipe, plan.inputs, plan.config.to_json_string(), overwrite=plan.overwrite):
        plan.config.distributed_state.wait_for_everyone()  # the first process discards an earlier run
        checkpoint = last_checkpoint(recipe.output_dir)
        if saved_step(final) >= plan.steps:
            return final
        with_weights(recipe.model)
        try:
            trainer = Trainer(plan, reward or MvpReward(recipe.reward), first_step=step_of(checkpoint))
        except (ValueError, TypeError, RuntimeError, ImportError, KeyError) as error:
            raise ConfigError(f"grpo: TRL refuses this recipe: {one_line(error)}") from error
        try:
            if step_of(checkpoint) < plan.steps:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            else:  # stopped between the last checkpoint and the final model
                trainer._load_from_checkpoint(str(checkpoint))
                trainer.state.global_step = step_of(checkpoint)
        except MvpError as error:
            raise type(error)(_last_line(error)) from error
        finally:
            trainer.run_log.write_page()
        trainer.save_final(final)
    return final


class Trainer(GRPOTrainer):  # type: ignore[misc]
    """`GRPOTrainer`, set up from a plan. The algorithm is TRL's alone."""

    def __init__(self, plan: Plan, reward: Callable[..., list[float]], *, first_step: int) -> None:
        self.plan, self.clock, self.scored = plan, StepClock(), 0
        super().__init__(
            model=str(plan.model),
            reward_funcs=reward,
            args=plan.config,
            train_dataset=to_dataset(plan.samples, plan.recipe.prompt),
            eval_dataset=to_dataset(plan.validation, plan.recipe.prompt) if plan.validation is not None else None,
            processing_class=plan.processor,
            peft_config=lora_config(plan.recipe.lora),
        )
        for callback in (PrinterCallback, ProgressCallback):  # we write our own log
            self.remove_callback(callback)
        self.run_log = RunLog(plan, first_step=first_step, active=self.is_world_process_zero())

    def save_final(self, folder: Path) -> None:
        """Write the model with its trainer state; an older final model stays until the new one is complete."""
        unfinished = folder.with_name(f".{folder.name}.unfinished")
        self.save_model(str(unfinished))
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            self.state.save_to_json(str(unfinished / STATE_NAME))
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the weights of a checkpoint strictly.

        A checkpoint of a vision-language model names its weights like the released model, not like the modules.
        transformers 5.23 does not convert the names: it finds no weight, warns, and keeps the initial weights.
        """
        if self.plan.recipe.lora is not None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        ours = model or self.model
        saved = type(ours).from_pretrained(resume_from_checkpoint, dtype=ours.dtype, local_files_only=True)
        ours.load_state_dict(saved.state_dict())

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        """TRL's sampler, with an order that depends on the number of the epoch.

        TRL draws the orders of all epochs from one stream, so a resumed run would repeat the order of the first epoch.
        """
        sampler = super()._get_train_sampler(dataset)
        if self.shuffle_dataset:
            seed = self.args.seed
            sampler.set_epoch = lambda epoch: sampler.generator.manual_seed(stable_hash("epoch", seed, epoch) >> 1)
        return sampler

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
        """The next batches; the time they take is the `data_wait` of a step."""
        return self.clock.timed("data_wait", super().get_batch_samples, *args, **kwargs)

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        return self.clock.timed("generation", super()._generate, *args, **kwargs)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, *args: Any) -> Any:
        self.scored += len(inputs) * self.accelerator.num_processes
        if self.model.training and self.is_world_process_zero():
            self.run_log.show(self.state.global_step + 1, inputs, completions)
        return self.clock.timed("reward", super()._calculate_rewards, inputs, prompts, completions, *args)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write our own card: TRL's card names neither the base model nor the task."""
        if self.is_world_process_zero():
            self.run_log.write_card()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the clock's figures to the log of a step, and write it."""
        figures, self.scored = self.clock.take(self.scored), 0
        if "loss" in logs:  # neither a validation nor the closing summary
            logs.update(figures)
        super().log(logs, start_time)
        if self.is_world_process_zero():
            self.run_log.write(self.state.global_step, logs)


def _last_line(error: MvpError) -> str:
    """The message alone, without the traceback that a DataLoader puts before an error of its worker."""
    lines = str(error).strip().splitlines()
    return lines[0] if len(lines) == 1 else lines[-1].partition("Error: ")[2]
