-- What an answer has reported of its tokens, or nil: a count of 10^9 and more, or of fewer than can be, is none. No prompt has no token.
local function told_tokens(found, fewest) return type(found) == "number" and found >= fewest and found < 1e9 and found or nil end

-- The tokens of an answer's prompt and its own, and how many of its prompt the provider's cache had, or nil. Some APIs (xAI's, Gemini's) tell of
-- what was thought in the total alone, and bill it as output. Who tells of more cached tokens than the prompt has tells of none.
local function told_usage(usage)
  local input, output = told_tokens(usage and usage.input_tokens, 1), told_tokens(usage and usage.output_tokens, 0)
  if not (input and output) then return end
  local cached = told_tokens(usage.cached_input_tokens, 0) or 0
  return input, math.max(output, (told_tokens(usage.total_tokens, 0) or 0) - input), cached <= input and cached or 0
end

