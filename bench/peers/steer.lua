-- Steers as Graylane does, with one table for each dimension of each host. The tables are built once for each worker, when the
-- script is loaded. A request costs one call for the headers, one for the host and one for each header that is needed.

local tellers = {}
for id in io.lines("TELLERS_FILE") do
  tellers[id] = true
end

local branches, regions = {}, {}
for number = 0, 9 do
  branches[string.format("B%03d", number)] = true
  regions[string.format("R-%02d", number)] = true
end

local services_by_host = {
  ["loan.retail.svc.cluster.local"] = { gray = "v2", teller = tellers, branch = branches, region = regions },
}

local function is_in(ids, id)
  return id ~= nil and ids[id]
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local service = services_by_host[headers:get(":authority")]
  if service == nil then
    return
  end
  if is_in(service.teller, headers:get("x-teller"))
    or is_in(service.branch, headers:get("x-branch"))
    or is_in(service.region, headers:get("x-region"))
  then
    headers:replace("x-gray-version", service.gray)
  end
end
