"""`pallas unlearn`: remove a concept from a generator, without training."""

import argparse
import os
from pathlib import Path

from hpstm_ros.generation.concepts import Concept
from pallas_ros.body.errors import PallasError
from pallas_ros.body.resources import resource
from pallas_ros.files.overwriting import check_outputs, check_released
from pallas_ros.files.writing import save_text

HELP = "Remove a concept (default: violence) from a motion generator, without training."
EXAMPLE = """\
  pallas unlearn my_codebook.safetensors                  violence, from the token codebook
  pallas unlearn no_dance.safetensors --concept dance     another concept of config/concepts
  pallas unlearn out/ --model flow --method refusal         violence, from the flow's weights
  pallas unlearn out/ --method refusal --pairs pairs.yaml your own pairs, from the weights"""
METHODS = ("lcr", "refusal")
WEIGHTS = {"tokens": "models/tokens.safetensors", "flow": "models/hpstm_gen.safetensors"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument(
        "output",
        metavar="OUT",
        type=Path,
        help="codebook to write (.safetensors); with --method refusal, a folder for the model"
        " files",
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--concept", default="violence", help="name of a file in config/concepts (default violence)"
    )
    chosen.add_argument(
        "--pairs",
        type=Path,
        metavar="FILE",
        help="YAML file with pairs of sentences that define a concept",
    )
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="lcr",
        help="replace codes (default), or remove directions from the text layer's weights",
    )
    parser.add_argument(
        "--replace", type=int, default=16, metavar="R", help="codes to replace (default 16)"
    )
    parser.add_argument(
        "--rank", type=int, default=3, help="directions that refusal removes (default 3)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the safe code and the noise")
    parser.add_argument(
        "--model", choices=tuple(WEIGHTS), default="tokens", help="the generator (default tokens)"
    )
    parser.add_argument(
        "--weights", metavar="F", help="its weights (default: the released ones, .safetensors)"
    )
    parser.add_argument("--data", default="../shared/data", help="folder of the motion packs")


def run(args: argparse.Namespace) -> int:
    """Remove the concept; nothing is written if an error occurs.

    Raises:
        PallasError: an argument or a file is invalid.
    """
    if not 0 <= args.seed < 2**63:
        raise PallasError(f"the seed must be from 0 to {2**63 - 1}")
    concept = Concept.load(args.pairs) if args.pairs else Concept.named(args.concept)
    weights = args.weights or WEIGHTS[args.model]
    if args.method == "refusal":
        return _refuse(args, weights, concept)
    if args.model != "tokens":
        raise PallasError("only the token generator has a codebook: use --method refusal")
    if args.output.suffix != ".safetensors":
        raise PallasError(f"{args.output}: give a codebook name that ends in .safetensors")
    card = args.output.with_suffix(".md")
    check_outputs([args.output, card], [resource(weights), args.pairs])
    check_released([args.output, card])
    from hpstm_ros.train.forgetting import Forgetting

    _check_folder(args.output)
    forgetting = Forgetting(resource(weights), args.data, concept, args.replace)
    codebook = forgetting.codebook(args.replace, args.seed)
    codebook.save(args.output)
    save_text(card, codebook_card(args.output.stem, codebook.document, weights))
    print(
        f"{args.output}: {args.replace} of {len(codebook.entries)} codes replaced by code "
        f"{codebook.document['safe']}, from {codebook.document['forget']} motions to forget and "
        f"{codebook.document['retain']} to retain; {card.name} describes it"
    )
    return 0


def _check_folder(output: Path) -> None:
    """Reject an output that cannot be written before the motion is encoded.

    A card beside an existing codebook is its own, and replaced with it.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PallasError(f"{output.parent} cannot be created ({error.strerror})") from None
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise PallasError(f"{output} cannot be written: give another path")
    card = output.with_suffix(".md")
    if card.exists() and not output.exists():
        raise PallasError(
            f"{card} exists, but would be the card of the codebook: give another name, or remove it"
        )


def _refuse(args: argparse.Namespace, weights: str, concept: Concept) -> int:
    from hpstm_ros.train import generator_export, tokens_export
    from hpstm_ros.train.forgetting import refuse_flow, refuse_tokens

    method, names = {
        "tokens": (refuse_tokens, tokens_export.FILES),
        "flow": (refuse_flow, generator_export.FILES),
    }[args.model]
    outputs = [args.output / name for name in names]
    check_outputs(outputs, [resource(weights), args.pairs])
    check_released([args.output, *outputs])
    path = method(resource(weights), concept, args.rank, args.output)
    print(f"{path}: {args.rank} directions of '{concept.name}' removed from the text layer")
    return 0


def codebook_card(name: str, document: dict[str, object], weights: str) -> str:
    """The card of an unlearned codebook."""
    replaced = document["replaced"]
    assert isinstance(replaced, list)
    return f"""# {name}

A codebook of the token generator in which the concept "{document["concept"]}" is unlearned by
latent code replacement (De Matteis et al., "Human Motion Unlearning", Algorithm 1). The rest of the
generator is unchanged.

| | |
|---|---|
| weights | `{weights}` |
| motions to forget, to retain (2 s each) | {document["forget"]}, {document["retain"]} |
| codes replaced | {len(replaced)} |
| replaced by | code {document["safe"]}, plus noise |
| seed | {document["seed"]} |

Written by `pallas unlearn`. Motion that the replaced codes do not represent is not unlearned. The
motion guard (`hpstm_ros/generation/guard.py`) checks generated motion before it is played.
"""
