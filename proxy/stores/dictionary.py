"""What answers have in common, for the compressor: members of the API's objects and of our own header.

Raw content for zstd (RFC 8878 section 5, without entropy tables): a match may point into it as if it stood before the
data. An answer of 1,000 characters takes 0.75 kB with it and 1.3 kB without. What is likeliest stands last, where
pointing is cheapest. It belongs to the frame's version: an entry can only be read with the dictionary it was made with.
"""

from __future__ import annotations

from typing import Final

DICTIONARY: Final = (
    b'{"index":0,"id":"call_","type":"function","function":{"name":"get_","arguments":"{\\"}"}}],'
    b'"reasoning_content":null,"reasoning":null,"function_call":null,"audio":null,"stop_reason":null,'
    b'"prompt_logprobs":null,"prompt_token_ids":null,"kv_transfer_params":null,"token_ids":null,'
    b'"logprobs":{"content":[{"token":" the","logprob":-0.0001,"bytes":[32,116],"top_logprobs":[]}],"refusal":null}'
    b"\\n\\n### \\n\\n1. **\\n- **:** \\n```python\\n    return \\n```\\n\\n"
    b"there are they have been would could which because between through these other from their about not on "
    b"can be used it is as you with this that is a for the in the to the and the of the "
    b'data: {"object":"chat.completion.chunk","model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant",'
    b'"content":""},"logprobs":null,"finish_reason":null}]}\n\ndata: {"choices":[{"delta":{"tool_calls":['
    b'{"endpoint":"/chat/completions","model":"gpt-4o-mini-2024-07-18","form":"frames","form":"whole",'
    b'"finished_at":1800000000.0,"fresh_s":80000.0,"kept_s":86400.0,"generation":1800000000000,'
    b'"id_prefix":"chatcmpl-","echoes":["metadata","service_tier"],"echoes":[],"usage":[10,100,0],'
    b'"lacks_usage":true,"lacks_usage":false,"cost_usd":null,"cost_usd":0.0001,"upstream":"openai",'
    b'"upstream_request_id":"req_","upstream_s":1.0,"tags":[]}'
    b'{"object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":null,"tool_calls":[{"finish_reason":"tool_calls","finish_reason":"length",'
    b'"content":"","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":10,"completion_tokens":100,"total_tokens":110,"prompt_tokens_details":{"cached_tokens":0,'
    b'"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,'
    b'"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default",'
    b'"system_fingerprint":"fp_"}'
)
