-- What an answer has reported of its tokens, or nil: a count of 10^9 and more, or of fewer than can be, is none. No prompt has no token.
local function told_tokens(found, fewest) return found and found >= fewest and found < 1e9 and found or nil end

local function told_usage(usage)
  local input, output = told_tokens(usage and usage.input_tokens, 1), told_tokens(usage and usage.output_tokens, 0)
  if input and output then return input, output end
end

