-- The way to one hosted backend: header allow-lists in both directions, the model renamed, no query string, failures in our own words.
local REQUEST = { ["content-type"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["accept"] = true, ["x-request-id"] = true }
local RESPONSE = {
  ["content-type"] = true, ["content-length"] = true, ["transfer-encoding"] = true, ["cache-control"] = true, ["date"] = true,
  ["retry-after"] = true, ["x-served-by"] = true, ["x-request-id"] = true, ["content-encoding"] = true,
}
local MODEL = { model = true }
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
  local found, why = members(s, MODEL)
  if found and not found.model then found, why = nil, "missing member model" end
  if found and byte(s, found.model[1]) ~= 34 then found, why = nil, "model must be a string" end
  if not found then return refuse(h, "400", "invalid_body", "invalid request body: " .. why) end
  local first, last = found.model[1], found.model[2]
  if unescaped(sub(s, first + 1, last - 1)) ~= served then
    return refuse(h, "404", "model_not_found", "the requested model is not served here; GET /v1/models lists what is")
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
  local failed = moved or status >= 500 or status == 401 or status == 402 or status == 403 or status == 404 or status == 408 or status == 429
  if not failed then return end
  local json = '{"error":{"message":"no backend can answer now; try again later","type":"overloaded_error","param":null,"code":"no_capacity","hosted_status":'
    .. status .. "}}"
  local retry_after = headers:get("retry-after") or "1"
  headers:replace(":status", "503")  -- every header before body(): the wrapper dies when body() yields
  headers:replace("content-type", "application/json")
  headers:remove("content-encoding")
  headers:replace("content-length", tostring(#json))
  headers:replace("retry-after", retry_after)
  headers:replace("x-served-by", "none")
  h:body(true):setBytes(json)
end
