"""A tiny policy that sees pictures (Llava from a config), its processor, and prompts with pictures."""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset
from PIL import Image
from transformers import (
    AddedToken,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    Qwen3Config,
)

from common.models.pocket import build_tokenizer

VOCABULARY = ("<pad>", "<bos>", "<eos>", "<image>", *(f"w{number}" for number in range(28)))
IMAGE_TOKEN = VOCABULARY.index("<image>")
CHAT = (
    "<bos>{% for message in messages %}{% for part in message.content %}"
    "{% if part.type == 'image' %} <image>{% else %} {{ part.text }}{% endif %}"
    "{% endfor %}{% endfor %}"
)
SIDE, PATCH = 8, 4  # four patches a picture


def picture_processor() -> LlavaProcessor:
    """Words and pictures to ids and pixels."""
    tokenizer = build_tokenizer(VOCABULARY, "<pad>", "<bos>", "<eos>")
    tokenizer.add_tokens([AddedToken("<image>", special=True)], special_tokens=True)
    size = {"height": SIDE, "width": SIDE}
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=size),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=CHAT,
        image_token="<image>",
        num_additional_image_tokens=1,
    )


def picture_policy() -> LlavaForConditionalGeneration:
    """A freshly initialised policy of a few thousand parameters."""
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = CLIPVisionConfig(
        num_hidden_layers=2, image_size=SIDE, patch_size=PATCH, projection_dim=16, **size
    )
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    text = Qwen3Config(
        vocab_size=len(VOCABULARY),
        num_hidden_layers=1,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=64,
        **size,
        **ends,
    )
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=IMAGE_TOKEN,
            vision_feature_select_strategy="default",
            vision_feature_layer=-1,
        )
    )
    model.generation_config.update(**ends)
    return model


def picture_prompts(count: int = 12) -> Dataset:
    """A word and a picture of one colour each."""
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": f"w{row % 7}"}],
                "images": [Image.new("RGB", (SIDE, SIDE), (20 * row, 100, 200 - 10 * row))],
            }
            for row in range(count)
        ]
    )


def seeing() -> dict[str, Any]:
    """Arguments of `pocket_trainer`; no completion holds the token of a picture."""
    return {
        "model": picture_policy(),
        "tokenizer": picture_processor(),
        "data": picture_prompts(),
        "generation_kwargs": {"suppress_tokens": [IMAGE_TOKEN]},
    }
