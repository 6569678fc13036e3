"""Tiny random models of the decoders that transformers knows, from configs alone."""

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY, CONTEXT, WINDOW, LAST = 40, 64, 6, 39


def names(text: str) -> set[str]:
    """The words of a text."""
    return set(text.split())


_FIELDS = {
    32: "hidden_size d_model n_embd dim embedding_size embed_dim word_embed_proj_dim width emb_dim "
    "lru_width d_embed",
    2: "num_hidden_layers n_layer num_layers decoder_layers encoder_layers n_layers num_encoder_layers "
    "num_decoder_layers num_key_value_heads num_kv_heads kv_n_heads multi_query_group_num "
    "num_experts_per_tok moe_k moe_topk top_k_experts mamba_expand eos_token_id",
    4: "num_attention_heads n_head num_heads decoder_attention_heads encoder_attention_heads n_heads "
    "attention_heads mamba_n_heads mamba_num_heads linear_num_key_heads linear_num_value_heads "
    "index_n_heads num_encoder_attention_heads num_decoder_attention_heads num_experts "
    "num_local_experts n_routed_experts moe_num_experts",
    8: "head_dim kv_channels qk_nope_head_dim v_head_dim qk_rope_head_dim mamba_d_head mamba_head_dim "
    "global_head_dim linear_key_head_dim linear_value_head_dim mamba_d_state state_size d_kv "
    "index_head_dim attention_head_size ssm_state_size",
    16: "qk_head_dim q_lora_rank kv_lora_rank hidden_size_per_layer_input",
    48: "intermediate_size ffn_dim decoder_ffn_dim encoder_ffn_dim moe_intermediate_size n_inner "
    "ffn_hidden_size shared_expert_intermediate_size shared_intermediate_size "
    "moe_shared_expert_intermediate_size dim_ff d_inner dff mlp_hidden_size feed_forward_size "
    "expert_ffn_hidden_size intermediate_size_mlp",
    CONTEXT: "max_position_embeddings n_positions max_seq_len context_length n_ctx max_sequence_length "
    "max_seq_length max_target_positions",
    WINDOW: "sliding_window window_size attention_window_size attention_chunk_size local_attention "
    "local_window_size sliding_window_size",
    VOCABULARY: "vocab_size vocab_size_per_layer_input",
    0: "pad_token_id",
    1: "bos_token_id n_group topk_group first_k_dense_replace",
}
SMALL = {name: size for size, text in _FIELDS.items() for name in text.split()}
_OPTIONAL = names(
    "sliding_window head_dim num_key_value_heads eos_token_id pad_token_id q_lora_rank num_experts_per_tok"
)
_LATENT = names(
    "axk1 axk2 deepseek_v2 deepseek_v3 deepseek_v32 glm4_moe_lite glm_moe_dsa longcat_flash minicpm3 "
    "sarvam_mla youtu"
)
_HYBRID = names("qwen3_next qwen3_5_text qwen3_5_moe_text lfm3")
SPECIAL: dict[str, dict[str, Any]] = {
    **{kind: {"num_key_value_heads": 4} for kind in _LATENT},
    **{kind: {"num_hidden_layers": 4} for kind in _HYBRID},
    "bamba": {"mamba_n_heads": 8, "attn_layer_indices": [1]},
    "codegen": {"rotary_dim": 8},
    "falcon_h1": {"mamba_d_ssm": 32},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 8},
    "jamba": {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
    "mamba2": {"num_heads": 8},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "reformer": {"axial_pos_embds_dim": [8, 24], "axial_pos_shape": [8, 8], "attn_layers": ["local", "lsh"]},
    "xmod": {"default_language": "en_XX"},
    "zaya": {"num_experts_per_tok": 1},
}
"""What the sizes alone do not settle."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon, ALiBi": ("falcon", {"alibi": True}),
    "falcon, grouped queries": ("falcon", {"new_decoder_architecture": True}),
    "gpt_neox, sequential": ("gpt_neox", {"use_parallel_residual": False}),
    "gpt_neo, long window": ("gpt_neo", {**SPECIAL["gpt_neo"], "window_size": 40}),
    "llama4_text, long chunks": ("llama4_text", {"attention_chunk_size": 40}),
    "mistral, long window": ("mistral", {"sliding_window": 40}),
    "mistral, no window": ("mistral", {"sliding_window": None}),
    "qwen2, windows": ("qwen2", {"use_sliding_window": True, "max_window_layers": 1}),
    "qwen3, windows only": ("qwen3", {"use_sliding_window": True, "max_window_layers": 0}),
    "bert, no decoder": ("bert", {"is_decoder": False}),
}
_REASONS = {
    "a vision, audio or byte tower of full size": "blt fuyu gemma3 gemma4 gemma4_unified got_ocr2 "
    "moss_transcribe_diarize",
    "millions of weights": "inkling2_loop_text inkling2_text phi4_multimodal roc_bert",
    "its text part is tried": "qwen3_5 qwen3_5_moe qwen4_exp",
    "its default config does not build": "cohere_compass_text dbrx dots1 gemma3n lfm2_moe musicgen "
    "musicgen_melody",
    "sizes that differ by layer": "dots3_note dots3_note_text gemma3n_text gemma4_assistant "
    "gemma4_unified_assistant",
    "a pattern of layers without a small form": "bailing_hybrid dory granitemoehybrid kimi_linear nemotron_h "
    "qwen4_exp_text xlstm zamba zamba2",
}
UNBUILT = {kind: reason for reason, kinds in _REASONS.items() for kind in kinds.split()}
"""Kinds without a tiny model, and why."""
KINDS = [kind for kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES if kind not in UNBUILT]


def _sizes(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """The fields of a config that make it large, with small values; sub-configs likewise."""
    base = kind()
    aliases = base.attribute_map
    changes: dict[str, Any] = {
        name: size
        for name, size in SMALL.items()
        if (name in vars(base) or name in aliases)
        and aliases.get(name) not in SMALL
        and (name in _OPTIONAL or isinstance(getattr(base, name, None), int))
    }
    for name in base.sub_configs:
        if isinstance(part := getattr(base, name, None), PreTrainedConfig):
            changes[name] = _sizes(type(part))
    return changes


def build(name: str) -> PreTrainedModel:
    """A model of a kind or variant whose weights are scaled up, so that greedy texts vary."""
    kind, changes = VARIANTS.get(name, (name, SPECIAL.get(name, {})))
    sort = CONFIG_MAPPING[kind]
    config = sort(**{**_sizes(sort), "is_decoder": True, "_experts_implementation": "eager", **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    return model if kind in ("xglm", "xlnet") else model.double()  # the two mix in float32
