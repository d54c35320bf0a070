-- Who calls: finds the client whose API key a request shows, takes the key off the request, and refuses everybody else.
-- Keys are kept and looked up as SHA-256 digests. How long a look-up takes depends on the digest, of which nobody who does not know the key
-- can choose a part; so it does not tell how much of a guess was right.
local SHORTEST_KEY, LONGEST_KEY, LONGEST_NAME = 16, 512, 63
local CLOSED = "no client can be admitted: the Secret with the API keys is missing or has no valid line"
local source, clients, closed = nil, {}, true  -- the Secret as it was last read

-- The digest that a key in the Secret stands for, or nil.
local function digest_of(key)
  local digest = string.match(key, "^sha256:(.*)$")
  if digest then return #digest == 64 and string.match(digest, "^%x+$") and string.lower(digest) or nil end
  if #key >= SHORTEST_KEY and #key <= LONGEST_KEY then return sha256(key) end
end

-- Reads lines "client: key" and "client: sha256:<digest>"; "#" begins a comment line. A client may have several keys, a key one client.
-- A line that cannot be read admits nobody.
local function read(h, text)
  source, clients, closed = text, {}, true
  local number = 0
  for line in string.gmatch(text .. "\n", "(.-)\r?\n") do
    number = number + 1
    local name, key = string.match(line, "^%s*(%w[%w._-]*)%s*:%s*([!-~]+)%s*$")
    local digest = name and #name <= LONGEST_NAME and digest_of(key)
    if digest and not clients[digest] then
      clients[digest] = { name = name, hash = string.sub(sha256(name), 1, 12) }
      closed = false
    elseif string.find(line, "^%s*[^%s#]") then
      h:logWarn("API keys: line " .. number .. " admits nobody; see docs/access.md for the format")
    end
  end
end

local function refuse(h, why)
  h:respond({ [":status"] = "401", ["www-authenticate"] = "Bearer" }, why)
end

function envoy_on_request(h)
  local text = h:streamInfo():filterState():get("spillway.keys") or ""
  if text ~= source then read(h, text) end
  local headers = h:headers()
  local said = headers:get("authorization")
  headers:remove("authorization")
  if closed then
    h:streamInfo():dynamicMetadata():set("access", "closed", true)
    return refuse(h, CLOSED)
  end
  local key = said and string.match(said, "^[Bb]earer +([!-~]+)$")
  if not key then return refuse(h, "missing API key: send the header Authorization: Bearer <key>") end
  local client = #key <= LONGEST_KEY and clients[sha256(key)]
  if not client then return refuse(h, "invalid API key") end
  local meta = h:streamInfo():dynamicMetadata()
  meta:set("access", "client", client.name)
  meta:set("access", "client_hash", client.hash)
end
