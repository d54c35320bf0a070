-- The way to one hosted backend: header allow-lists in both directions, the model renamed, no query string, failures in our own words.
local REQUEST = { ["content-type"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["accept"] = true, ["x-request-id"] = true }
local RESPONSE = {
  ["content-type"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["cache-control"] = true, ["date"] = true,
  ["retry-after"] = true, ["x-served-by"] = true, ["x-request-id"] = true, ["content-encoding"] = true,
}
-- What is not about the request: the key, the account (412 is Fireworks' of one that is suspended), a path or model that is not there (any
-- more), Bedrock's of a model that failed.
local FAILURES = {
  [401] = true, [402] = true, [403] = true, [404] = true, [405] = true, [408] = true, [410] = true, [412] = true, [424] = true, [429] = true,
}
-- The same told with 400, as an error's code or type: Groq's limit on spend and its ban, Alibaba's unpaid bill, OpenAI's limit, LiteLLM's budget.
local ACCOUNT = {
  blocked_api_access = true, organization_restricted = true, Arrearage = true, billing_hard_limit_reached = true, budget_exceeded = true,
}
local ERROR, CODES = { error = true }, { code = true, type = true }
-- Members that let a provider answer with other models, at their prices: OpenRouter's and Perplexity's, LiteLLM's.
local OTHERS = { "models", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks" }
local WANTED = { model = true, stream_options = true, background = true }
for _, name in ipairs(OTHERS) do WANTED[name] = true end
local LONGEST_RETRY_S = 60  -- what a client is told at most when to come again
local SHORT = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function keep_only(headers, allowed)
  local dropped = {}
  for key, _ in pairs(headers) do
    if byte(key, 1) ~= 58 and not allowed[key] then dropped[#dropped + 1] = key end  -- 58 is ':'; pseudo headers stay
  end
  for _, key in ipairs(dropped) do headers:remove(key) end
end

local function utf8(code)
  if code < 128 then return string.char(code) end
  if code < 2048 then return string.char(192 + math.floor(code / 64), 128 + code % 64) end
  return string.char(224 + math.floor(code / 4096), 128 + math.floor(code / 64) % 64, 128 + code % 64)
end

-- The text of a JSON string without its quotes. Surrogate pairs stay apart: such a name equals no served name, which is the safe side.
local function unescaped(s)
  if not find(s, "\\", 1, true) then return s end
  s = s:gsub("\\u(%x%x%x%x)", function(hex) return hex:lower() == "005c" and "\\\\" or utf8(tonumber(hex, 16)) end)
  return (s:gsub("\\(.)", function(c) return SHORT[c] or c end))
end

-- Whether the provider takes no stream_options, as Mistral's API does, which tells token counts unasked. Learned from its first refusal by each
-- thread: the edge adds them to every stream.
local without_options = false

-- The body without its member stream_options, whose value has this span. Something else is beside it: the model.
local function take_options_out(s, span)
  local from = math.max(1, span[1] - 64)
  local name = find(sub(s, from, span[1] - 1), '"stream_options"%s*:%s*$')
  if not name then return s end
  local before, after = sub(s, 1, from + name - 2), sub(s, span[2] + 1)
  local _, comma = find(after, "^%s*,")
  if comma then return before .. sub(after, comma + 1) end
  local last = find(sub(before, -64), ",%s*$")
  return last and sub(before, 1, math.max(0, #before - 64) + last - 1) .. after or s
end

-- Whether an error is about stream_options. One that only repeats the request has them as a member's name.
local function complains_of_options(text)
  for after in string.gmatch(text, "stream_options[\"']?%s*(.?)") do
    if after ~= ":" and after ~= "\\" then return true end
  end
  return false
end

-- Whether an error is about the account. What it repeats of the request stands elsewhere, and is none.
local function is_about_account(text)
  local span = (members(text, ERROR) or {}).error
  local inner = span and sub(text, span[1], span[2])
  for _, said in pairs(inner and members(inner, CODES) or {}) do
    if ACCOUNT[sub(inner, said[1] + 1, said[2] - 1)] then return true end
  end
  return false
end

local function refuse(h, status, code, message)
  h:streamInfo():dynamicMetadata():set("spillway", "refused", true)
  h:respond({ [":status"] = status, ["content-type"] = "application/json" },
    '{"error":{"message":"' .. message .. '","type":"invalid_request_error","param":null,"code":"' .. code .. '"}}')
end

function envoy_on_request(h)
  local served, model = h:metadata():get("served_name"), h:metadata():get("hosted_model_json")
  if not served then return refuse(h, h:metadata():get("refusal"), "not_found", "hosted backends do not serve this path") end
  local headers = h:headers()
  keep_only(headers, REQUEST)
  local path = headers:get(":path")
  local query = find(path, "?", 1, true)
  if query then headers:replace(":path", sub(path, 1, query - 1)) end
  local body = h:body()
  local s = body and body:length() > 0 and body:getBytes(0, body:length()) or ""
  if sub(s, 1, 3) == BOM then s = sub(s, 4) end  -- no JSON to most
  local found, why = members(s, WANTED)
  local options = found and found.stream_options
  if options and without_options then
    s = take_options_out(s, options)
    found = members(s, WANTED)
  elseif options and find(sub(s, options[1], options[2]), '^{%s*"include_usage"%s*:%s*true%s*}$') then
    h:streamInfo():dynamicMetadata():set("hosted", "asked", true)  -- in the edge's own words; others may be refused for what else they say
  end
  if found and not found.model then found, why = nil, "missing field model" end
  if found and byte(s, found.model[1]) ~= 34 then found, why = nil, "model must be a string" end
  for _, name in ipairs(OTHERS) do
    if found and found[name] then found, why = nil, name .. " would have another model answer than the served one" end
  end
  -- It is answered `queued`, and billed later: nobody here could fetch it, count it or stop it. vLLM refuses it, too, unless it is told to store.
  local later = found and found.background and sub(s, found.background[1], found.background[2])
  if later and later ~= "false" and later ~= "null" then found, why = nil, "background: an answer that is made later cannot be fetched here" end
  if not found then return refuse(h, "400", "invalid_body", "invalid request body: " .. why) end
  local first, last = found.model[1], found.model[2]
  if unescaped(sub(s, first + 1, last - 1)) ~= served then
    return refuse(h, "404", "model_not_found", "the requested model does not exist; GET /v1/models lists those that do")
  end
  headers = h:headers()
  headers:replace("content-type", "application/json")  -- what it was read as; a charset would have it read otherwise
  headers:replace("user-agent", "spillway")  -- firewalls in front of APIs refuse who tells none: Cloudflare's (1010), AWS's core rules
  headers:replace("content-length", tostring(body:setBytes(sub(s, 1, first - 1) .. model .. sub(s, last + 1))))
  headers:replace("x-spillway-rewritten", "1")  -- the RBAC filter behind lets nothing else pass, should this script ever fail
end

function envoy_on_response(h)
  local headers = h:headers()
  local status = tonumber(headers:get(":status")) or 0
  if h:streamInfo():dynamicMetadata():get("spillway") then  -- refused above
    headers:replace("x-served-by", "none")  -- the route has set it to the backend
    return
  end
  keep_only(headers, RESPONSE)
  local moved = status >= 300 and status < 400  -- to where the key must not go
  local switched = status < 200  -- to another protocol, which nobody asked for
  local failed = moved or switched or status >= 500 or FAILURES[status]
  if status == 400 or status == 422 then
    local asked = not without_options and h:streamInfo():dynamicMetadata():get("hosted")
    local body = h:body()
    local text = body and body:length() > 0 and body:getBytes(0, body:length()) or ""
    local unwanted = asked and complains_of_options(text)
    without_options = without_options or unwanted
    failed = unwanted or is_about_account(text)
    headers = h:headers()
  end
  if not failed then return end
  local json = '{"error":{"message":"no backend is available; try again later","type":"overloaded_error","param":null,"code":"no_capacity","hosted_status":'
    .. status .. "}}"
  -- Of a quota of the day (Azure's 86400) it is no news of own replicas, or of the next backend. What is a date counts as none.
  local told_s = tonumber(headers:get("retry-after") or "") or 1
  headers:replace(":status", "503")  -- every header before body(): the wrapper dies when body() yields
  headers:replace("content-type", "application/json")
  headers:remove("content-encoding")
  headers:replace("content-length", tostring(#json))
  headers:replace("retry-after", string.format("%.0f", math.ceil(math.max(1, math.min(told_s, LONGEST_RETRY_S)))))
  headers:replace("x-served-by", "none")
  h:body(true):setBytes(json)
end
