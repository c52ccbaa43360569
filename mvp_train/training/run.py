"""Carry out a plan with TRL, in an output folder that only this run uses."""

from collections.abc import Callable
from pathlib import Path

from mvp_data.core.errors import ConfigError, MvpError
from mvp_data.core.text import one_line
from mvp_train.models.load import with_weights
from mvp_train.reward import MvpReward
from mvp_train.training.plan import Plan
from mvp_train.training.run_folder import FINAL_NAME, final_step, last_checkpoint, owned, step_of


def train(plan: Plan, *, reward: Callable[..., list[float]] | None = None) -> Path:
    """Train to the end of the plan, from the last checkpoint if there is one; return the folder of the final model.

    Does nothing for a finished run. `reward`, in TRL's signature, replaces the recipe's reward in a control run.

    Raises:
        OutputError: another run uses the output folder.
        ShardError: a sample cannot be read; the message names it.
    """
    from mvp_train.training.trainer import Trainer

    recipe, final = plan.recipe, plan.recipe.output_dir / FINAL_NAME
    with owned(recipe, plan.inputs, plan.config.to_json_string(), overwrite=plan.overwrite):
        plan.config.distributed_state.wait_for_everyone()  # the first process discards an earlier run
        checkpoint = last_checkpoint(recipe.output_dir)
        if final_step(recipe.output_dir) >= plan.steps:
            return final
        with_weights(recipe.model)
        try:
            trainer = Trainer(plan, reward or MvpReward(recipe.reward), first_step=step_of(checkpoint))
        except (ValueError, TypeError, RuntimeError, ImportError, KeyError) as error:
            raise ConfigError(f"grpo: TRL refuses this recipe: {one_line(error)}") from error
        try:
            trainer.run(checkpoint, train=step_of(checkpoint) < plan.steps)
        except MvpError as error:
            raise type(error)(_last_line(error)) from error
        finally:
            trainer.run_log.close()
        trainer.save_final(final)
    return final


def _last_line(error: MvpError) -> str:
    """The message alone: an error in a worker of a DataLoader has the traceback of the worker before it."""
    lines = str(error).strip().splitlines()
    return lines[0] if len(lines) == 1 else lines[-1].partition("Error: ")[2]
