-- Requests at the edge: finds out whether an answer is to be streamed. If so it asks the backend for token counts and takes the route of
-- streams, on which answer.lua runs and headers may time out. Other bodies pass untouched.
local STREAMED, OPTIONS, INCLUDE = { stream = true }, { stream = true, stream_options = true, n = true, prompt = true }, { include_usage = true }
-- What vLLM takes for true, beside the number 1 (pydantic's lax booleans).
local TRUE = { ["true"] = true, ['"true"'] = true, ['"t"'] = true, ['"yes"'] = true, ['"y"'] = true, ['"on"'] = true, ['"1"'] = true }
local COUNTED = { ["/v1/chat/completions"] = true, ["/v1/completions"] = true }  -- where stream_options exists

local function is_true(text) return TRUE[lower(text)] or tonumber(text) == 1 end

-- The body with stream_options.include_usage on, and whether that had to be added.
local function with_usage(s, found)
  local span = found.stream_options
  if not span then
    local brace = find(s, "{", 1, true)
    return sub(s, 1, brace) .. '"stream_options":{"include_usage":true},' .. sub(s, brace + 1), true
  end
  local options = sub(s, span[1], span[2])
  if options == "null" then return sub(s, 1, span[1] - 1) .. '{"include_usage":true}' .. sub(s, span[2] + 1), true end
  local inner = members(options, INCLUDE)
  if not inner then return s, false end  -- not an object: the backend will say so
  local asked = inner.include_usage
  if not asked then
    local comma = find(options, "^{%s*}") and "" or ","
    return sub(s, 1, span[1]) .. '"include_usage":true' .. comma .. sub(s, span[1] + 1), true
  end
  if is_true(sub(options, asked[1], asked[2])) then return s, false end
  return sub(s, 1, span[1] + asked[1] - 2) .. "true" .. sub(s, span[1] + asked[2]), true
end

function envoy_on_request(h)
  local headers = h:headers()
  local kind = headers:get("content-type")
  if not kind or not find(lower(kind), "json", 1, true) then return end
  local body = h:body()
  if not body then return end
  local s = body:getBytes(0, body:length())
  if not find(s, '"stream"', 1, true) then return end
  headers = h:headers()
  local path = string.match(headers:get(":path"), "^[^?]*")
  local found = members(s, COUNTED[path] and OPTIONS or STREAMED)
  if not found or not found.stream or not is_true(sub(s, found.stream[1], found.stream[2])) then return end
  local meta = h:streamInfo():dynamicMetadata()
  meta:set("spillway", "started", h:timestamp(EnvoyTimestampResolution.MILLISECOND))
  if COUNTED[path] then
    local answers = (found.n and tonumber(sub(s, found.n[1], found.n[2])) or 1) * prompts(s, found.prompt)
    if answers > 1 then meta:set("spillway", "answers", answers) end
    local asked, added = with_usage(s, found)
    if added then
      headers:replace("content-length", tostring(body:setBytes(asked)))
      meta:set("spillway", "hide_usage", true)
    end
  end
  if path == "/v1/responses" then meta:set("spillway", "announced", true) end
  headers:replace("x-spillway-stream", "1")
  h:clearRouteCache()
end
